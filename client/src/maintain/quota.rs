//! How much a server allows an account, and how much of it is in use: a look that takes no secret.

use unseen_common::vault::VaultError;

use crate::repo::Repository;

/// Bytes in use and bytes allowed; none if there is no limit.
pub async fn quota(repo: &Repository) -> Result<Option<(u64, u64)>, VaultError> {
    let report = repo.vault.privacy().await?;
    Ok(report.allowed.map(|allowed| (report.used, allowed)))
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
}
