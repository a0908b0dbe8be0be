//! Where the power comes from, by `/sys/class/power_supply`.

use std::path::Path;

use super::read_text;

/// Bytes of a value that are read.
const VALUE: u64 = 64;

/// Where the power comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Power {
    /// Not known: no battery, or no word about it.
    #[default]
    Unknown,
    /// From the wall.
    Mains,
    /// From a battery.
    Battery {
        /// How full it is.
        percent: Option<u8>,
    },
}

/// A battery of the machine itself.
struct Battery {
    discharging: bool,
    percent: Option<u64>,
    /// What is in it and what goes in, in a unit of its own.
    energy: Option<(u64, u64)>,
}

/// Reads all supplies. Those of a mouse or a phone do not count.
pub fn read(folder: &Path) -> Power {
    let Ok(supplies) = std::fs::read_dir(folder) else { return Power::Unknown };
    let mut batteries = Vec::new();
    let mut plugged = false;
    for supply in supplies.flatten() {
        let supply = supply.path();
        let value = |name: &str| read_text(&supply.join(name), VALUE);
        if value("scope").as_deref() == Some("Device") {
            continue;
        }
        match value("type").as_deref() {
            Some("Battery" | "UPS") => batteries.extend(battery(value)),
            Some("Mains" | "USB" | "Wireless") => {
                plugged |= value("online").is_some_and(|online| online != "0");
            }
            _ => {}
        }
    }
    if batteries.is_empty() && !plugged {
        Power::Unknown
    } else if plugged || !batteries.iter().any(|battery| battery.discharging) {
        Power::Mains
    } else {
        Power::Battery { percent: together(&batteries) }
    }
}

fn battery(value: impl Fn(&str) -> Option<String>) -> Option<Battery> {
    if value("present").as_deref() == Some("0") {
        return None;
    }
    let number = |name: &str| value(name)?.parse::<u64>().ok();
    let pair = |now: &str, full: &str| Some((number(now)?, number(full).filter(|&full| full > 0)?));
    Some(Battery {
        discharging: value("status").as_deref() == Some("Discharging"),
        percent: number("capacity").filter(|&percent| percent <= 100),
        energy: pair("energy_now", "energy_full").or_else(|| pair("charge_now", "charge_full")),
    })
}

/// How full several batteries are together.
fn together(batteries: &[Battery]) -> Option<u8> {
    let energies: Option<Vec<(u64, u64)>> = batteries.iter().map(|one| one.energy).collect();
    let percent = match (batteries, energies) {
        ([Battery { percent: Some(percent), .. }], _) => *percent,
        (_, Some(energies)) => {
            let now = energies.iter().fold(0_u64, |sum, (now, _)| sum.saturating_add(*now));
            let full = energies.iter().fold(0_u64, |sum, (_, full)| sum.saturating_add(*full));
            now.saturating_mul(100).checked_div(full)?
        }
        (_, None) => {
            let known: Vec<u64> = batteries.iter().filter_map(|one| one.percent).collect();
            known.iter().sum::<u64>().checked_div(known.len() as u64)?
        }
    };
    u8::try_from(percent.min(100)).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A tree as the kernel has it: supplies, each with its values.
    fn power(supplies: &[(&str, &[(&str, &str)])]) -> Power {
        let dir = tempfile::tempdir().unwrap();
        for (name, values) in supplies {
            let supply = dir.path().join(name);
            std::fs::create_dir(&supply).unwrap();
            for (value, text) in *values {
                std::fs::write(supply.join(value), format!("{text}\n")).unwrap();
            }
        }
        read(dir.path())
    }

    const OFF: (&str, &[(&str, &str)]) = ("AC", &[("type", "Mains"), ("online", "0")]);
    const ON: (&str, &[(&str, &str)]) = ("AC", &[("type", "Mains"), ("online", "1")]);
    const MOUSE: (&str, &[(&str, &str)]) = (
        "hidpp_battery_0",
        &[("type", "Battery"), ("scope", "Device"), ("status", "Discharging"), ("capacity", "5")],
    );
    const LOW: (&str, &[(&str, &str)]) = (
        "BAT0",
        &[("type", "Battery"), ("present", "1"), ("status", "Discharging"), ("capacity", "29")],
    );

    #[test]
    fn a_laptop_on_its_battery_and_at_the_wall() {
        assert_eq!(power(&[OFF, LOW]), Power::Battery { percent: Some(29) });
        assert_eq!(power(&[ON, LOW]), Power::Mains, "the supply is weak, but there is one");
        let full: (&str, &[_]) =
            ("BAT0", &[("type", "Battery"), ("status", "Full"), ("capacity", "100")]);
        assert_eq!(power(&[OFF, full]), Power::Mains);
    }

    #[test]
    fn a_desktop_with_a_mouse_and_one_without_anything() {
        assert_eq!(power(&[MOUSE]), Power::Unknown);
        assert_eq!(power(&[]), Power::Unknown);
        assert_eq!(read(Path::new("/no/such/folder")), Power::Unknown);
        assert_eq!(power(&[MOUSE, ON]), Power::Mains);
    }

    #[test]
    fn two_batteries_count_by_what_is_in_them() {
        let small: (&str, &[_]) = (
            "BAT0",
            &[
                ("type", "Battery"),
                ("status", "Unknown"),
                ("capacity", "100"),
                ("energy_now", "10000"),
                ("energy_full", "10000"),
            ],
        );
        let large: (&str, &[_]) = (
            "BAT1",
            &[
                ("type", "Battery"),
                ("status", "Discharging"),
                ("capacity", "20"),
                ("charge_now", "8000"),
                ("charge_full", "40000"),
            ],
        );
        assert_eq!(power(&[small, large]), Power::Battery { percent: Some(36) });
        let absent: (&str, &[_]) = ("BAT2", &[("type", "Battery"), ("present", "0")]);
        assert_eq!(power(&[small, large, absent]), Power::Battery { percent: Some(36) });
    }

    #[test]
    fn nonsense_is_not_known() {
        let odd: (&str, &[_]) = (
            "BAT0",
            &[
                ("type", "Battery"),
                ("status", "Discharging"),
                ("capacity", "-1"),
                ("energy_full", "0"),
            ],
        );
        assert_eq!(power(&[odd]), Power::Battery { percent: None });
    }
}
