//! From what the user calls a snapshot to the snapshot: `latest`, `latest~2`, `40dc1520`,
//! `40dc:home/me`.

use std::collections::BTreeSet;

use unseen_common::id::{DeviceId, SetTag};
use unseen_common::log::entry::Status;
use unseen_common::log::fold::{Leave, State};
use unseen_common::time::Timestamp;

use super::snapshots::{
    GoneRow, Listed, Row, SnapshotError, gone_rows, manifest, rows, with_manifests,
};
use crate::repo::ReaderRepo;
use crate::tree::entry::Name;
use crate::tree::manifest::Manifest;

/// What the user named.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted {
    /// Which snapshot.
    pub which: Which,
    /// Which part of it; all of it with `None`.
    pub path: Option<Vec<Name>>,
}

/// Which snapshot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Which {
    /// So many whole snapshots before the newest.
    Latest(u32),
    /// The one whose id begins with these hexadecimal digits.
    Id(String),
}

/// Narrows the snapshots down. Nothing set means all.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Filter {
    /// Name of the set.
    pub set: Option<String>,
    /// Name of the device, or the start of its id.
    pub device: Option<String>,
    /// Host name in the manifest.
    pub host: Option<String>,
    /// A path that the backup was told to save.
    pub path: Option<Vec<u8>>,
    /// It must have all tags of one of these lists, if there are any: as restic takes `--tag`.
    pub tags: Vec<Vec<String>>,
}

/// The snapshot that is meant.
#[derive(Debug)]
pub struct Chosen {
    /// The snapshot, with its manifest.
    pub snapshot: Row,
    /// What it says of itself.
    pub manifest: Manifest,
    /// Which part of it; all of it with `None`.
    pub path: Option<Vec<Name>>,
    /// There is no whole snapshot: this is the newest checkpoint.
    pub only_checkpoint: bool,
}

/// Why no snapshot, or no single one, is meant.
#[derive(Debug, thiserror::Error)]
pub enum ResolveError {
    /// Neither `latest`, `latest~N` nor an id.
    #[error("not a snapshot: {0:?} (expected latest, latest~N or the first digits of an id)")]
    NotASnapshot(String),
    /// A path with `..` or something else that no snapshot holds.
    #[error("not a path within a snapshot: {0:?}")]
    NotAPath(String),
    /// None at all.
    #[error("there is no snapshot{}", if *.filtered { " that matches" } else { " yet" })]
    None {
        /// A filter left none.
        filtered: bool,
    },
    /// There are not so many.
    #[error("there {} to go back", match .whole {
        1 => "is only one snapshot".to_owned(),
        whole => format!("are only {whole} snapshots"),
    })]
    TooFarBack {
        /// How many whole ones there are.
        whole: usize,
    },
    /// The filter leaves out what has this id.
    #[error("snapshot {} is there, but does not match {}", .prefix, .by.join(" and "))]
    Filtered {
        /// The digits.
        prefix: String,
        /// What it was to match.
        by: Vec<&'static str>,
    },
    /// No id begins so.
    #[error("no snapshot has an id that begins with {0}")]
    Unknown(String),
    /// It was forgotten or has expired.
    #[error("snapshot {} was {}", .gone.row.id.short(), match .gone.why {
        Leave::Forgotten => "forgotten",
        Leave::Expired => "expired by the rules",
    })]
    Gone {
        /// What went.
        gone: Box<GoneRow>,
    },
    /// Several ids begin so.
    #[error("{} snapshots have an id that begins with {prefix}", .found.len())]
    Ambiguous {
        /// The digits.
        prefix: String,
        /// Those that begin so, oldest first.
        found: Vec<Row>,
    },
    /// Several sets, or machines, and nothing says which.
    #[error("there are snapshots of {} sets: name one", .newest.len())]
    SeveralSets {
        /// The newest snapshot of each.
        newest: Vec<Listed>,
    },
    /// Its manifest cannot be used.
    #[error("the snapshot cannot be used")]
    Snapshot(#[from] SnapshotError),
}

/// Reads `latest`, `latest~N`, an id, or one of these with `:PATH`. Pure.
pub fn parse(text: &str) -> Result<Wanted, ResolveError> {
    let (which, path) = match text.split_once(':') {
        Some((which, path)) => (which, Some(parse_path(path.as_bytes())?)),
        None => (text, None),
    };
    let not = || ResolveError::NotASnapshot(which.to_owned());
    let which = match which.strip_prefix("latest") {
        Some("") => Which::Latest(0),
        Some(back) => {
            let back = back.strip_prefix('~').ok_or_else(not)?;
            Which::Latest(back.parse().map_err(|_e: std::num::ParseIntError| not())?)
        }
        None => {
            let digits = which.to_ascii_lowercase();
            let good =
                (1..=64).contains(&digits.len()) && digits.bytes().all(|b| b.is_ascii_hexdigit());
            Which::Id(good.then_some(digits).ok_or_else(not)?)
        }
    };
    Ok(Wanted { which, path })
}

/// Reads a path within a snapshot; `/` in front and doubled ones are of no matter.
pub fn parse_path(path: &[u8]) -> Result<Vec<Name>, ResolveError> {
    path.split(|byte| *byte == b'/')
        .filter(|part| !part.is_empty() && *part != b".")
        .map(|part| {
            Name::new(part).map_err(|_e: crate::tree::entry::NotAName| {
                ResolveError::NotAPath(path.escape_ascii().to_string())
            })
        })
        .collect()
}

impl Filter {
    /// Whether it leaves all.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// What it goes by, as the options are called.
    fn names(&self) -> Vec<&'static str> {
        let Self { set, device, host, path, tags } = self;
        let set = [
            ("--set", set.is_some()),
            ("--device", device.is_some()),
            ("--host", host.is_some()),
            ("--path", path.is_some()),
            ("--tag", !tags.is_empty()),
        ];
        set.into_iter().filter(|(_, set)| *set).map(|(name, _)| name).collect()
    }

    fn needs_manifest(&self) -> bool {
        self.host.is_some() || self.path.is_some() || !self.tags.is_empty()
    }

    /// Whether the log alone rules a snapshot out.
    fn takes_row(&self, row: &Row, set: Option<SetTag>) -> bool {
        let device = self.device.as_ref().is_none_or(|wanted| {
            row.device_name.as_ref() == Some(wanted)
                || (wanted.len() >= 4 && row.device.to_string().starts_with(wanted.as_str()))
        });
        device && set.is_none_or(|set| row.set == set)
    }

    fn takes(&self, listed: &Listed) -> bool {
        let Ok(manifest) = &listed.manifest else {
            return !self.needs_manifest();
        };
        let path = self.path.as_ref().is_none_or(|wanted| {
            let wanted = trimmed(wanted);
            manifest.paths.iter().any(|path| trimmed(path) == wanted)
        });
        path && self.host.as_ref().is_none_or(|host| manifest.host == *host)
            && (self.tags.is_empty() || self.tags.iter().any(|list| has_tags(manifest, list)))
    }
}

/// Whether a snapshot has all of these tags.
pub fn has_tags(manifest: &Manifest, tags: &[String]) -> bool {
    tags.iter().all(|tag| manifest.tags.contains(tag))
}

/// The snapshots that a filter leaves, oldest first. Fetches manifests only if the filter is about
/// what they say.
pub async fn matching(repo: &ReaderRepo, filter: &Filter) -> Vec<Row> {
    if !filter.needs_manifest() {
        return taken_rows(repo, filter);
    }
    let listed = matching_listed(repo, filter).await;
    listed.into_iter().map(|listed| listed.row).collect()
}

/// The same with their manifests.
pub async fn matching_listed(repo: &ReaderRepo, filter: &Filter) -> Vec<Listed> {
    let mut listed = with_manifests(repo, taken_rows(repo, filter)).await;
    listed.retain(|listed| filter.takes(listed));
    listed
}

/// The snapshots that went, can be brought back at `now`, and pass a filter.
pub async fn matching_gone(
    repo: &ReaderRepo,
    filter: &Filter,
    now: Timestamp,
) -> Vec<(GoneRow, Listed)> {
    let set = filter.set.as_ref().map(|name| repo.ids().set_tag(name));
    let mut gone = gone_rows(repo, now);
    gone.retain(|gone| filter.takes_row(&gone.row, set));
    let rows = gone.iter().map(|gone| gone.row.clone()).collect();
    let listed = with_manifests(repo, rows).await;
    let mut both: Vec<(GoneRow, Listed)> = gone.into_iter().zip(listed).collect();
    both.retain(|(_, listed)| filter.takes(listed));
    both
}

/// What the log alone does not rule out.
fn taken_rows(repo: &ReaderRepo, filter: &Filter) -> Vec<Row> {
    let set = filter.set.as_ref().map(|name| repo.ids().set_tag(name));
    let mut rows = rows(repo);
    rows.retain(|row| filter.takes_row(row, set));
    rows
}

/// Finds the snapshot that is meant.
///
/// `latest` is the newest whole snapshot, and a checkpoint only if there is no whole one; those
/// that a revoked device wrote after it was to be trusted are passed over.
pub async fn resolve(
    repo: &ReaderRepo,
    wanted: &Wanted,
    filter: &Filter,
) -> Result<Chosen, ResolveError> {
    let rows = matching(repo, filter).await;
    let (snapshot, only_checkpoint) = match &wanted.which {
        Which::Id(prefix) => {
            let found = by_id(rows, prefix);
            (found.map_err(|error| why_none(repo, (prefix, filter), error))?, false)
        }
        Which::Latest(back) => {
            if filter.is_empty() {
                one_set(repo, &rows).await?;
            }
            latest(rows, *back, !filter.is_empty())?
        }
    };
    let manifest = manifest(repo, &snapshot).await?;
    Ok(Chosen { snapshot, manifest, path: wanted.path.clone(), only_checkpoint })
}

fn by_id(rows: Vec<Row>, prefix: &str) -> Result<Row, ResolveError> {
    let mut found: Vec<Row> =
        rows.into_iter().filter(|row| row.id.to_string().starts_with(prefix)).collect();
    match found.len() {
        0 => Err(ResolveError::Unknown(prefix.to_owned())),
        1 => Ok(found.remove(0)),
        _ => Err(ResolveError::Ambiguous { prefix: prefix.to_owned(), found }),
    }
}

/// Says so if the snapshot that is not there is one that the filter leaves out, or one that went.
fn why_none(
    repo: &ReaderRepo,
    (prefix, filter): (&str, &Filter),
    error: ResolveError,
) -> ResolveError {
    if !matches!(error, ResolveError::Unknown(_)) {
        return error;
    }
    let begins = |row: &Row| row.id.to_string().starts_with(prefix);
    if rows(repo).iter().any(begins) {
        return ResolveError::Filtered { prefix: prefix.to_owned(), by: filter.names() };
    }
    // What the last record found restorable. The server decides when it is asked to restore.
    let mut gone = gone_rows(repo, repo.log.state.head_received);
    gone.retain(|gone| begins(&gone.row));
    match gone.pop() {
        Some(one) if gone.is_empty() => ResolveError::Gone { gone: Box::new(one) },
        _ => error,
    }
}

/// Of rows that are oldest first.
fn latest(mut rows: Vec<Row>, back: u32, filtered: bool) -> Result<(Row, bool), ResolveError> {
    rows.retain(|row| row.trusted);
    let whole = |row: &Row| row.status != Status::Checkpoint;
    let only_checkpoint = !rows.iter().any(whole);
    rows.retain(|row| only_checkpoint || whole(row));
    let count = rows.len();
    if count == 0 {
        return Err(ResolveError::None { filtered });
    }
    let back = usize::try_from(back).unwrap_or(usize::MAX);
    let found = rows.into_iter().rev().nth(back);
    found.map(|row| (row, only_checkpoint)).ok_or(ResolveError::TooFarBack { whole: count })
}

/// Fails if the snapshots are of several sets. A machine that took another's place goes on with
/// the other's sets.
async fn one_set(repo: &ReaderRepo, rows: &[Row]) -> Result<(), ResolveError> {
    let state = &repo.log.state;
    let mut seen = BTreeSet::new();
    let mut newest = Vec::new();
    for row in rows.iter().rev().filter(|row| row.trusted) {
        if seen.insert((ancestor(state, row.device), row.set)) {
            newest.push(row.clone());
        }
    }
    if newest.len() < 2 {
        return Ok(());
    }
    let newest = with_manifests(repo, newest).await;
    Err(ResolveError::SeveralSets { newest })
}

fn ancestor(state: &State, device: DeviceId) -> DeviceId {
    state.lineage(device).pop().unwrap_or(device)
}

fn trimmed(path: &[u8]) -> &[u8] {
    match path {
        [rest @ .., b'/'] if !rest.is_empty() => rest,
        path => path,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use unseen_common::disclosure::Disclosure;
    use unseen_common::id::SnapshotId;
    use unseen_common::time::Timestamp;

    fn row(id: u8, seq: u64, status: Status, trusted: bool) -> Row {
        Row {
            id: SnapshotId::from_bytes([id; 32]),
            seq,
            device: DeviceId::from_bytes([1; 16]),
            device_name: Some("desk".into()),
            set: SetTag::from_bytes([1; 16]),
            status,
            time: Timestamp(seq),
            received: Timestamp(seq),
            trusted,
            pinned: false,
            held: false,
            disclosure: Disclosure {
                start: Timestamp(0),
                end: Timestamp(0),
                totals: None,
                types: Vec::new(),
            },
        }
    }

    #[test]
    fn names_of_snapshots_are_read() {
        let names = |path: &str| parse_path(path.as_bytes()).unwrap();
        for (text, which, path) in [
            ("latest", Which::Latest(0), None),
            ("latest~3", Which::Latest(3), None),
            ("40DC", Which::Id("40dc".into()), None),
            ("40dc:/a//b/.", Which::Id("40dc".into()), Some("a/b")),
            ("latest:", Which::Latest(0), Some("")),
        ] {
            let path = path.map(names);
            assert_eq!(parse(text).unwrap(), Wanted { which, path }, "{text}");
        }
        for bad in ["", "last", "latest~", "latest~x", "latest2", "xyz", &"a".repeat(65)] {
            let error = parse(bad).unwrap_err();
            assert!(matches!(error, ResolveError::NotASnapshot(_)), "{bad}");
        }
        for bad in ["40:..", "40:a/../b", &format!("40:{}", "n".repeat(256))] {
            assert!(matches!(parse(bad).unwrap_err(), ResolveError::NotAPath(_)));
        }
    }

    #[test]
    fn latest_is_the_newest_whole_and_trusted_one() {
        use Status::{Checkpoint, Complete, Partial};
        let rows = vec![
            row(1, 1, Complete, true),
            row(2, 2, Partial, true),
            row(3, 3, Checkpoint, true),
            row(4, 4, Complete, false),
        ];
        let found = |back| latest(rows.clone(), back, false).map(|(row, only)| (row.seq, only));
        assert_eq!(found(0).unwrap(), (2, false));
        assert_eq!(found(1).unwrap(), (1, false));
        let far = found(2).unwrap_err();
        assert!(matches!(far, ResolveError::TooFarBack { whole: 2 }));
        let (checkpoint, only) = latest(rows[2..].to_vec(), 0, false).unwrap();
        assert_eq!((checkpoint.seq, only), (3, true));
        let none = latest(rows[3..].to_vec(), 0, true).unwrap_err();
        assert!(matches!(none, ResolveError::None { filtered: true }));
    }

    #[test]
    fn an_id_must_be_the_only_one_that_begins_so() {
        let rows =
            vec![row(0x11, 1, Status::Complete, true), row(0x12, 2, Status::Complete, false)];
        assert_eq!(by_id(rows.clone(), "12").unwrap().seq, 2);
        let two = by_id(rows.clone(), "1").unwrap_err();
        assert!(matches!(two, ResolveError::Ambiguous { found, .. } if found.len() == 2));
        assert!(matches!(by_id(rows, "2"), Err(ResolveError::Unknown(_))));
    }

    #[test]
    fn filters_by_device() {
        let filter = |device: &str| Filter { device: Some(device.into()), ..Filter::default() };
        let row = row(1, 1, Status::Complete, true);
        assert!(filter("desk").takes_row(&row, None));
        assert!(filter("0101").takes_row(&row, None));
        assert!(!filter("01").takes_row(&row, None));
        assert!(!filter("lap").takes_row(&row, None));
        assert!(!filter("desk").takes_row(&row, Some(SetTag::from_bytes([2; 16]))));
    }
}
