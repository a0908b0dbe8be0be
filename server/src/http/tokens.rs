//! Bearer tokens: random, short-lived, in memory alone, and only their hashes.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use data_encoding::BASE64URL_NOPAD;
use unseen_common::id::Hash;
use unseen_common::time::{Clock, Timestamp};
use unseen_common::vault::VaultError;
use unseen_common::wire::body::TokenAnswer;

use crate::store::{lock, random};
use crate::vault::Session;

/// Seconds that a token is good for.
const TOKEN_SECONDS: u64 = 3600;
/// Most tokens of one account at a time; the oldest goes.
const PER_ACCOUNT: usize = 256;

#[derive(Debug)]
struct Held {
    session: Session,
    expires: Timestamp,
}

/// The tokens that are good now.
#[derive(Debug)]
pub(super) struct Tokens {
    held: Mutex<HashMap<Hash, Held>>,
    clock: Arc<dyn Clock>,
}

impl Tokens {
    pub(super) fn new(clock: Arc<dyn Clock>) -> Self {
        Self { held: Mutex::default(), clock }
    }

    /// A new token for a session.
    pub(super) fn issue(&self, session: Session) -> TokenAnswer {
        let token = BASE64URL_NOPAD.encode(&random::<32>());
        let now = self.clock.now();
        let account = session.account();
        let mut held = lock(&self.held);
        // Sessions of erased accounts would keep their journals open.
        held.retain(|_, token| token.expires > now && !token.session.is_over());
        if held.values().filter(|t| t.session.account() == account).count() >= PER_ACCOUNT {
            let oldest = held
                .iter()
                .filter(|(_, token)| token.session.account() == account)
                .min_by_key(|(_, token)| token.expires)
                .map(|(hash, _)| *hash);
            oldest.and_then(|hash| held.remove(&hash));
        }
        let expires = Timestamp(now.0.saturating_add(TOKEN_SECONDS));
        held.insert(Hash::of(token.as_bytes()), Held { session, expires });
        TokenAnswer { token, seconds: TOKEN_SECONDS }
    }

    /// The session of a token. Looked up by its hash, so that timing tells nothing.
    pub(super) fn session(&self, token: &str) -> Result<Session, VaultError> {
        let now = self.clock.now();
        lock(&self.held)
            .get(&Hash::of(token.as_bytes()))
            .filter(|held| held.expires > now && !held.session.is_over())
            .map(|held| held.session.clone())
            .ok_or(VaultError::Unauthorized)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::memory::{self, MemBlobs, MemJournals};
    use crate::testkit::{Bench, Owner, TestClock, answer};
    use crate::vault::{Core, Options};
    use unseen_common::vault::{Principal, Service};

    async fn session(bench: &Bench, owner: &Owner) -> Session {
        let request = answer(&bench.core, owner.vault, Principal::Owner, (&owner.login, ""));
        let request = request.await.unwrap();
        bench.core.login_at(String::new(), request).await.unwrap()
    }

    #[tokio::test]
    async fn tokens_end() {
        let clock = Arc::new(TestClock::default());
        let options = Options { clock: Arc::<TestClock>::clone(&clock), open_accounts: false };
        let store = memory::store(MemBlobs::default(), MemJournals::default());
        let core = Core::with_store(store, [1; 32], options).unwrap();
        let service: Arc<dyn Service> = Arc::new(core.clone());
        let bench = Bench { service, clock: Arc::clone(&clock), core };
        let (one, two) = (bench.owner(1).await, bench.owner(2).await);
        let tokens = Tokens::new(Arc::<TestClock>::clone(&clock));
        let first = tokens.issue(session(&bench, &one).await);
        let second = tokens.issue(session(&bench, &two).await);
        assert_eq!(tokens.session(&first.token).unwrap().account(), one.vault);
        assert!(tokens.session("no such token").is_err());
        bench.core.account_erase(&one.vault.to_string()).unwrap();
        assert!(tokens.session(&first.token).is_err());
        assert_eq!(tokens.session(&second.token).unwrap().account(), two.vault);
        clock.advance(second.seconds);
        assert!(tokens.session(&second.token).is_err());
        for _ in 0..=PER_ACCOUNT {
            tokens.issue(session(&bench, &two).await);
        }
        assert_eq!(lock(&tokens.held).len(), PER_ACCOUNT);
    }
}
