//! Where the daemon hears of changes, and what it does not care about.

use std::sync::{Arc, PoisonError, RwLock};

use crate::daemon::changes::{self, Excluded, Options};
use crate::daemon::filter::Filter;
use crate::daemon::run::MakeSource;

/// What the sets leave out, shared with the source: it changes when config.toml is read again.
pub(super) type Filters = Arc<RwLock<Vec<Filter>>>;

/// Makes the source of changes. A directory that no set saves is not watched.
pub(super) fn make(filters: Filters) -> MakeSource {
    let excluded = Excluded::by(move |path, is_dir| {
        let filters = filters.read().unwrap_or_else(PoisonError::into_inner);
        is_dir && !filters.iter().any(|filter| filter.touched(path).next().is_some())
    });
    Box::new(move |sink| changes::open(Options::new(excluded), sink))
}
