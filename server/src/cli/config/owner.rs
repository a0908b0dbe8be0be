//! Names of users and groups, as the machine's own files have them.

use std::path::Path;

/// User and group by number.
pub(super) type Owner = (Option<u32>, Option<u32>);

/// `USER`, `USER:GROUP` or `:GROUP`; names or numbers.
pub(super) fn parse(text: &str) -> Result<Owner, String> {
    let (user, group) = text.split_once(':').unwrap_or((text, ""));
    if user.is_empty() && group.is_empty() {
        return Err("USER, USER:GROUP or :GROUP is needed".to_owned());
    }
    let user = number(user, "user", Path::new("/etc/passwd"))?;
    let group = number(group, "group", Path::new("/etc/group"))?;
    Ok((user, group))
}

fn number(name: &str, what: &str, file: &Path) -> Result<Option<u32>, String> {
    if name.is_empty() {
        return Ok(None);
    }
    if let Ok(number) = name.parse() {
        return Ok(Some(number));
    }
    let lines = std::fs::read_to_string(file).unwrap_or_default();
    let found = lookup(&lines, name);
    found
        .map(Some)
        .ok_or_else(|| format!("{} has no {what} {name}; its number will do, too", file.display()))
}

/// Lines are `name:password:number:…` in both files.
fn lookup(lines: &str, name: &str) -> Option<u32> {
    let line = lines.lines().find(|line| line.split(':').next() == Some(name))?;
    line.split(':').nth(2)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn owners() {
        assert_eq!(parse("7"), Ok((Some(7), None)));
        assert_eq!(parse("7:8"), Ok((Some(7), Some(8))));
        assert_eq!(parse(":8"), Ok((None, Some(8))));
        assert_eq!(parse("root"), Ok((Some(0), None)));
        assert!(parse("").is_err() && parse(":").is_err());
        assert!(parse(":no such group").unwrap_err().contains("/etc/group"));
        assert_eq!(lookup("a:x:1:\nb:x:2:\nc:x:\n", "b"), Some(2));
        assert_eq!(lookup("a:x:1:\nc:x:\n", "c"), None);
    }
}
