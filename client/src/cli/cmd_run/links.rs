//! Paths that are symbolic links: of these only the link is saved.

use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use super::super::escape::escape_for_terminal;

/// What is to be said of each path that only leads to what somebody may have meant.
pub(in crate::cli) fn link_warnings(paths: &[PathBuf]) -> Vec<String> {
    let shown = |path: &Path| escape_for_terminal(path.as_os_str().as_bytes()).into_owned();
    links(paths)
        .iter()
        .map(|(link, target)| {
            let (link, target) = (shown(link), shown(target));
            format!(
                "{link} is a symbolic link: only the link is saved, and nothing of {target}, which \
                 it leads to; name {target} as well"
            )
        })
        .collect()
}

/// Each path that is a symbolic link, with what it leads to, unless that is saved by another path.
fn links(paths: &[PathBuf]) -> Vec<(PathBuf, PathBuf)> {
    let is_link = |path: &PathBuf| path.symlink_metadata().is_ok_and(|meta| meta.is_symlink());
    let (links, others): (Vec<&PathBuf>, Vec<&PathBuf>) =
        paths.iter().partition(|path| is_link(path));
    let others: Vec<PathBuf> = others.iter().filter_map(|path| path.canonicalize().ok()).collect();
    let saved = |target: &PathBuf| others.iter().any(|other| target.starts_with(other));
    let leads = |link: &PathBuf| Some((link.clone(), link.canonicalize().ok()?));
    links.into_iter().filter_map(leads).filter(|(_, target)| !saved(target)).collect()
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn a_link_is_told_unless_what_it_leads_to_is_saved() {
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path().canonicalize().unwrap();
        fs::create_dir_all(dir.join("data/docs")).unwrap();
        fs::write(dir.join("data/file"), "x").unwrap();
        symlink("data/docs", dir.join("docs")).unwrap();
        symlink("docs", dir.join("again")).unwrap();
        symlink("data/file", dir.join("file")).unwrap();
        symlink("nowhere", dir.join("broken")).unwrap();
        let ask =
            |names: &[&str]| links(&names.iter().map(|name| dir.join(name)).collect::<Vec<_>>());
        let docs = |link: &str| (dir.join(link), dir.join("data/docs"));
        assert_eq!(ask(&["docs"]), [docs("docs")]);
        assert_eq!(ask(&["again", "docs"]), [docs("again"), docs("docs")]);
        assert_eq!(ask(&["file"]), [(dir.join("file"), dir.join("data/file"))]);
        for told_by_nothing in [&["docs", "data"][..], &["broken"], &["data"], &["gone"]] {
            assert!(ask(told_by_nothing).is_empty(), "{told_by_nothing:?}");
        }
        let said = link_warnings(&[dir.join("docs")]).concat();
        let target = dir.join("data/docs");
        assert!(said.contains("only the link is saved") && said.ends_with("as well"), "{said}");
        assert!(said.contains(target.to_str().unwrap()), "{said}");
    }
}
