//! How much a server allows an account, and how much of it is in use: a look that takes no secret.
//!
//! Servers tell it in the report on what they hold, in words for people.

use unseen_common::privacy::Report;
use unseen_common::vault::VaultError;

use crate::repo::Repository;

/// Bytes in use and bytes allowed; none if there is no limit, or it is not understood.
pub async fn quota(repo: &Repository) -> Result<Option<(u64, u64)>, VaultError> {
    Ok(of_report(&repo.vault.privacy().await?))
}

fn of_report(report: &Report) -> Option<(u64, u64)> {
    let value = |name: &str| report.held.iter().find(|held| held.name == name);
    let allowed = bytes(&value("account.quota")?.value)?;
    let part = |name| value(name).map_or(Some(0), |held| bytes(&held.value));
    Some((part("pack.length")?.saturating_add(part("account.metadata")?), allowed))
}

/// Reads `495.1 MiB`.
fn bytes(text: &str) -> Option<u64> {
    let (number, unit) = text.split_once(' ')?;
    let scale: u64 = match unit {
        "B" => 0,
        "KiB" => 10,
        "MiB" => 20,
        "GiB" => 30,
        "TiB" => 40,
        "PiB" => 50,
        "EiB" => 60,
        _ => return None,
    };
    let (whole, tenth) = match number.split_once('.') {
        Some((whole, tenth)) if tenth.len() == 1 => (whole, tenth.parse::<u128>().ok()?),
        Some(_) => return None,
        None => (number, 0),
    };
    let tenths = u128::from(whole.parse::<u64>().ok()?) * 10 + tenth;
    u64::try_from((tenths << scale) / 10).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::World;

    #[test]
    fn amounts_are_read_as_servers_write_them() {
        for (text, expected) in [
            ("0 B", Some(0)),
            ("1023 B", Some(1023)),
            ("1 KiB", Some(1024)),
            ("1.5 MiB", Some(1_572_864)),
            ("495.1 MiB", Some(519_149_977)),
            ("15.9 EiB", Some(18_331_451_923_248_866_918)),
            ("16 EiB", None),
            ("no limit", None),
            ("1.25 MiB", None),
            ("-1 MiB", None),
            ("1", None),
            ("", None),
        ] {
            assert_eq!(bytes(text), expected, "{text}");
        }
    }

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
        assert!((64 << 10..1 << 20).contains(&used), "{used}");
    }
}
