//! Whether there is a way to anywhere, by the kernel's routes. It only saves tries that cannot
//! succeed; whether the server can be reached is known when it has been.

use std::path::Path;

use super::read_text;

/// Bytes of a table that are read.
const TABLE: u64 = 256 * 1024;
/// The route can be used.
const UP: u32 = 0x1;
/// What goes there is refused.
const REJECT: u32 = 0x200;

/// A way to anywhere: yes. None at all: no. To neighbours only: not known. No table: not known.
pub fn read(folder: &Path) -> Option<bool> {
    let four = read_text(&folder.join("route"), TABLE);
    let six = read_text(&folder.join("ipv6_route"), TABLE);
    if four.is_none() && six.is_none() {
        return None;
    }
    let four = four.iter().flat_map(|text| text.lines()).filter_map(route_4);
    let six = six.iter().flat_map(|text| text.lines()).filter_map(route_6);
    let ways: Vec<Way> = four.chain(six).collect();
    if ways.contains(&Way::Anywhere) {
        Some(true)
    } else if ways.is_empty() {
        Some(false)
    } else {
        None
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    Anywhere,
    Neighbours,
}

/// `IFACE DESTINATION GATEWAY FLAGS REFS USE METRIC MASK ...`, numbers in hexadecimal.
fn route_4(line: &str) -> Option<Way> {
    let fields: Vec<&str> = line.split_whitespace().collect();
    let (name, to, flags, mask) = (fields.first()?, fields.get(1)?, fields.get(3)?, fields.get(7)?);
    let anywhere = *to == "00000000" && *mask == "00000000";
    way(name, flags, anywhere)
}

/// `DESTINATION LENGTH SOURCE LENGTH NEXT METRIC REFS USE FLAGS IFACE`, numbers in hexadecimal.
fn route_6(line: &str) -> Option<Way> {
    let fields: Vec<&str> = line.split_whitespace().collect();
    let (to, length, flags, name) =
        (fields.first()?, fields.get(1)?, fields.get(8)?, fields.get(9)?);
    // Every interface has those to its own link and to groups.
    if to.starts_with("fe80") || to.starts_with("ff") {
        return None;
    }
    let anywhere = *length == "00" && to.bytes().all(|digit| digit == b'0');
    way(name, flags, anywhere)
}

fn way(name: &str, flags: &str, anywhere: bool) -> Option<Way> {
    let flags = u32::from_str_radix(flags, 16).ok()?;
    if name == "lo" || flags & UP == 0 || flags & REJECT != 0 {
        return None;
    }
    Some(if anywhere { Way::Anywhere } else { Way::Neighbours })
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: &str = "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\n";
    const DEFAULT: &str = "wlan0\t00000000\t0101A8C0\t0003\t0\t0\t600\t00000000\t0\t0\t0\n";
    const LINK: &str = "docker0\t000011AC\t00000000\t0001\t0\t0\t0\t0000FFFF\t0\t0\t0\n";
    const ZERO: &str = "00000000000000000000000000000000";

    fn six(to: &str, length: &str, flags: &str, name: &str) -> String {
        format!("{to} {length} {ZERO} 00 {ZERO} 00000400 00000001 00000000 {flags} {name}\n")
    }

    fn network(four: &str, six: &str) -> Option<bool> {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("route"), format!("{HEAD}{four}")).unwrap();
        std::fs::write(dir.path().join("ipv6_route"), six).unwrap();
        read(dir.path())
    }

    #[test]
    fn a_way_to_anywhere_is_one_of_either_kind() {
        assert_eq!(network(DEFAULT, ""), Some(true));
        assert_eq!(network("", &six(ZERO, "00", "00450003", "wlan0")), Some(true));
        assert_eq!(network(&format!("{LINK}{DEFAULT}"), ""), Some(true));
    }

    #[test]
    fn without_any_way_there_is_no_network() {
        let own = six("fe800000000000000000000000000000", "40", "00000001", "wlan0");
        let none = six(ZERO, "00", "00200200", "lo");
        let loopback = six("00000000000000000000000000000001", "80", "80200001", "lo");
        assert_eq!(network("", &format!("{own}{none}{loopback}")), Some(false));
        assert_eq!(
            network("lo\t0000007F\t00000000\t0001\t0\t0\t0\t000000FF\t0\t0\t0\n", ""),
            Some(false)
        );
    }

    #[test]
    fn with_neighbours_alone_or_without_tables_nothing_is_known() {
        assert_eq!(network(LINK, ""), None);
        assert_eq!(read(Path::new("/no/such/folder")), None);
    }
}
