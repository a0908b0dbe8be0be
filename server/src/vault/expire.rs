//! Expiry: the server carries out the owner's rules, without keys.
//!
//! The record that it writes names what the shared fold says has expired, no more and no less, so
//! every client can check it.

use unseen_common::log::chain::SignedEntry;
use unseen_common::log::entry::{Author, Body, Entry};
use unseen_common::retention::next_expire;
use unseen_common::time::{SECONDS_A_DAY, Timestamp};
use unseen_common::vault::Result;

use super::account::Account;

impl Account {
    /// Writes what has expired into the log; tells how many snapshots went. An account whose log is
    /// stamped more than a day ahead of `now` was written under a wrong clock: nothing expires in
    /// it until the time has caught up.
    pub(super) fn expire(&self, now: Timestamp) -> Result<usize> {
        let mut expired = 0;
        loop {
            let writer = self.writer()?;
            if writer.received.since(now) > SECONDS_A_DAY {
                tracing::warn!(account = self.id.short(), "stamped ahead: nothing expires");
                return Ok(expired);
            }
            let next = self.with_state(|state| {
                if state.erased_at(writer.received).is_some() {
                    return None;
                }
                let ids = next_expire(state, writer.received)?;
                let entry = Entry {
                    vault: state.vault,
                    seq: state.head_seq.checked_add(1)?,
                    prev: state.head,
                    author: Author::Server,
                    time: writer.received,
                    body: Body::Expire(ids.clone()),
                };
                Some((entry, ids.as_slice().len()))
            });
            let Some((entry, count)) = next else {
                return Ok(expired);
            };
            self.extend_with(&writer, SignedEntry::unsigned(&entry), Vec::new())?;
            expired += count;
        }
    }
}
