//! Sizes and times as people write them.

use unseen_common::time::Timestamp;

/// Bytes: `500GB` (decimal), `500GiB` or `500G` (binary), `123`.
pub(super) fn bytes(text: &str) -> Result<u64, String> {
    let (number, unit) = split(text)?;
    let factor: u64 = match unit {
        "" | "B" => 1,
        "kB" | "KB" => 1000,
        "MB" => 1000_u64.pow(2),
        "GB" => 1000_u64.pow(3),
        "TB" => 1000_u64.pow(4),
        "K" | "KiB" => 1 << 10,
        "M" | "MiB" => 1 << 20,
        "G" | "GiB" => 1 << 30,
        "T" | "TiB" => 1 << 40,
        _ => {
            return Err(format!("{unit}: the units are B, kB, MB, GB, TB, KiB, MiB, GiB, TiB"));
        }
    };
    number.checked_mul(factor).ok_or_else(|| format!("{text} is too much"))
}

/// Nobody means more than about ten years.
const LONGEST: u64 = 3650 * 24 * 60 * 60;

/// Seconds: `90s`, `30m`, `12h`, `7d`.
pub(super) fn seconds(text: &str) -> Result<u64, String> {
    let (number, unit) = split(text)?;
    let factor: u64 = match unit {
        "" => return Err(format!("{text} has no unit: s, m, h or d, such as 7d")),
        "s" => 1,
        "m" => 60,
        "h" => 60 * 60,
        "d" => 24 * 60 * 60,
        _ => return Err(format!("{unit}: the units are s, m, h, d")),
    };
    number
        .checked_mul(factor)
        .filter(|seconds| *seconds <= LONGEST)
        .ok_or_else(|| format!("{text} is too long: 3650d at most"))
}

/// Bytes, and not none.
pub(super) fn some_bytes(text: &str) -> Result<u64, String> {
    some(text, bytes(text)?)
}

/// Seconds, and not none.
pub(super) fn some_seconds(text: &str) -> Result<u64, String> {
    some(text, seconds(text)?)
}

fn some(text: &str, amount: u64) -> Result<u64, String> {
    if amount == 0 { Err(format!("{text} would be good for nothing")) } else { Ok(amount) }
}

/// `1 pack`, `2 packs`.
pub(super) fn plural(count: impl TryInto<u64>, one: &str, many: &str) -> String {
    let count = count.try_into().unwrap_or(u64::MAX);
    format!("{count} {}", if count == 1 { one } else { many })
}

/// A moment in UTC, such as `2026-11-22 03:41:05Z`.
pub(super) fn moment(time: Timestamp) -> String {
    let days = time.0 / 86_400;
    let seconds = time.0 % 86_400;
    // Days since 0000-03-01, so that a leap day is the last of its year.
    let shifted = days.saturating_add(719_468);
    let (era, day) = (shifted / 146_097, shifted % 146_097);
    let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let day = day - (153 * month + 2) / 5 + 1;
    let (year, month) =
        if month < 10 { (era * 400 + year, month + 3) } else { (era * 400 + year + 1, month - 9) };
    let (hour, minute) = (seconds / 3600, seconds % 3600 / 60);
    format!("{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}:{:02}Z", seconds % 60)
}

fn split(text: &str) -> Result<(u64, &str), String> {
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    let number =
        number.parse().map_err(|_e| format!("{text} does not begin with a whole number"))?;
    Ok((number, unit.trim_start()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments() {
        for (seconds, text) in [
            (0, "1970-01-01 00:00:00Z"),
            (951_782_399, "2000-02-28 23:59:59Z"),
            (951_782_400, "2000-02-29 00:00:00Z"),
            (1_800_000_000, "2027-01-15 08:00:00Z"),
            (4_107_542_400, "2100-03-01 00:00:00Z"),
        ] {
            assert_eq!(moment(Timestamp(seconds)), text);
        }
    }

    #[test]
    fn units() {
        assert_eq!(bytes("500GB"), Ok(500_000_000_000));
        assert_eq!(bytes("2 GiB"), Ok(2 << 30));
        assert_eq!(bytes("7"), Ok(7));
        assert_eq!(seconds("7d"), Ok(604_800));
        assert_eq!(seconds("90s"), Ok(90));
        for bad in ["", "GB", "1.5GB", "1XB", "-1GB", "99999999999TB"] {
            assert!(bytes(bad).is_err(), "{bad}");
        }
        assert!(some_bytes("0GB").is_err() && some_seconds("0d").is_err());
        assert_eq!((some_bytes("1"), some_seconds("1s")), (Ok(1), Ok(1)));
        for (bad, told) in [
            ("", "does not begin"),
            ("d", "does not begin"),
            ("7", "7 has no unit: s, m, h or d"),
            ("0", "0 has no unit"),
            ("7w", "w: the units are"),
            ("3651d", "3650d at most"),
            ("99999999d", "3650d at most"),
            ("999999999999999999d", "3650d at most"),
        ] {
            assert!(seconds(bad).unwrap_err().contains(told), "{bad}");
        }
        assert_eq!(seconds("3650d"), Ok(LONGEST));
    }
}
