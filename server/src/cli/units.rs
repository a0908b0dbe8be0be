//! Sizes and durations as people write them.

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

/// Seconds: `90s`, `30m`, `12h`, `7d`.
pub(super) fn seconds(text: &str) -> Result<u64, String> {
    let (number, unit) = split(text)?;
    let factor: u64 = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 60 * 60,
        "d" => 24 * 60 * 60,
        _ => return Err(format!("{unit}: the units are s, m, h, d")),
    };
    number.checked_mul(factor).ok_or_else(|| format!("{text} is too long"))
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
    fn units() {
        assert_eq!(bytes("500GB"), Ok(500_000_000_000));
        assert_eq!(bytes("2 GiB"), Ok(2 << 30));
        assert_eq!(bytes("7"), Ok(7));
        assert_eq!(seconds("7d"), Ok(604_800));
        assert_eq!(seconds("90s"), Ok(90));
        for bad in ["", "GB", "1.5GB", "1XB", "-1GB", "99999999999TB"] {
            assert!(bytes(bad).is_err(), "{bad}");
        }
        for bad in ["", "7", "7w", "d"] {
            assert!(seconds(bad).is_err(), "{bad}");
        }
    }
}
