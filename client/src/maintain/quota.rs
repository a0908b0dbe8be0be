//! How much a server allows an account, how much of it is in use, and whether it deletes: a look that
//! takes no secret.

use unseen_common::time::SECONDS_A_DAY;
use unseen_common::vault::{Vault, VaultError};

use crate::repo::Repository;

/// Bytes in use and bytes allowed; none if there is no limit.
pub async fn quota(repo: &Repository) -> Result<Option<(u64, u64)>, VaultError> {
    let report = repo.vault.privacy().await?;
    Ok(report.allowed.map(|allowed| (report.used, allowed)))
}

/// What to say of a server that expires and deletes nothing for now; nothing if it does.
pub async fn deletion_held(vault: &dyn Vault) -> Result<Option<String>, VaultError> {
    let ahead = vault.privacy().await?.clock_ahead;
    Ok(ahead.map(|seconds| {
        format!(
            "deletion is held: the server's clock is {} days ahead of when it was last seen; nothing \
             goes until whoever runs the server says that it is right",
            seconds / SECONDS_A_DAY
        )
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::World;

    #[test]
    fn what_is_in_use_is_told_with_the_limit() {
        let (world, mut machine) = World::new();
        let source = world.folder("source");
        std::fs::write(source.join("a"), b"1").unwrap();
        world.backup(&mut machine, &source);
        let look = || world.runtime.block_on(quota(&machine.repo)).unwrap();
        assert_eq!(look(), None);
        let account = world.core.accounts().unwrap()[0].to_string();
        world.core.account_quota(&account, Some(1 << 20)).unwrap();
        let (used, allowed) = look().unwrap();
        assert_eq!(allowed, 1 << 20);
        assert_eq!(used, world.core.account_show(&account).unwrap().used);
        assert!((64 << 10..1 << 20).contains(&used), "{used}");
    }

    #[test]
    fn a_server_whose_clock_jumped_says_that_it_deletes_nothing() {
        let (world, machine) = World::new();
        let look = || world.runtime.block_on(deletion_held(&*machine.repo.vault)).unwrap();
        world.core.gc(false).unwrap();
        assert_eq!(look(), None);
        world.server_clock.off_by(500 * 86_400);
        world.core.gc(false).unwrap();
        let told = look().unwrap();
        assert!(told.contains("is 500 days ahead"), "{told}");
    }
}
