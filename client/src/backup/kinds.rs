//! Counts files by kind, for owners who let their snapshots tell: by extension alone, one of a
//! closed list, never the name.

use std::collections::BTreeMap;

use unseen_common::disclosure::{CLASSES, TypeCount, two_digits};

/// Longest extension that says something.
const MAX_EXTENSION: usize = 8;

/// Files and bytes by kind.
#[derive(Debug, Clone, Default)]
pub struct Kinds(BTreeMap<&'static str, (u64, u64)>);

impl Kinds {
    /// Counts one file by its path.
    pub fn count(&mut self, path: &[u8], size: u64) {
        let (files, bytes) = self.0.entry(kind_of(path)).or_default();
        *files = files.saturating_add(1);
        *bytes = bytes.saturating_add(size);
    }

    /// What is disclosed: rounded, in the order of the list.
    pub fn disclosed(&self) -> Vec<TypeCount> {
        let count = |class: &&str| {
            let (files, bytes) = self.0.get(class)?;
            let (files, bytes) = (two_digits(*files), two_digits(*bytes));
            Some(TypeCount { class: (*class).to_owned(), files, bytes })
        };
        CLASSES.iter().filter_map(count).collect()
    }
}

fn kind_of(path: &[u8]) -> &'static str {
    let name = path.rsplit(|b| *b == b'/').next().unwrap_or_default();
    // A dot at the start hides a file; it is no extension.
    let dot = name.iter().rposition(|b| *b == b'.').filter(|at| *at > 0);
    let extension = dot.and_then(|at| name.get(at + 1..)).unwrap_or_default();
    if extension.is_empty() || extension.len() > MAX_EXTENSION {
        return "other";
    }
    let extension = extension.to_ascii_lowercase();
    match extension.as_slice() {
        b"zip" | b"gz" | b"tgz" | b"bz2" | b"xz" | b"zst" | b"7z" | b"rar" | b"tar" | b"lz4"
        | b"iso" | b"jar" | b"deb" | b"rpm" | b"apk" | b"dmg" => "archive",
        b"mp3" | b"flac" | b"ogg" | b"opus" | b"wav" | b"m4a" | b"aac" | b"wma" | b"aiff"
        | b"mid" => "audio",
        b"c" | b"h" | b"cc" | b"cpp" | b"hpp" | b"rs" | b"go" | b"py" | b"js" | b"ts" | b"jsx"
        | b"tsx" | b"java" | b"kt" | b"rb" | b"php" | b"sh" | b"cs" | b"swift" | b"lua" | b"pl"
        | b"html" | b"css" | b"scss" | b"vue" => "code",
        b"sqlite" | b"sqlite3" | b"db" | b"sql" | b"mdb" | b"accdb" | b"dbf" | b"parquet"
        | b"csv" | b"json" | b"xml" | b"yaml" | b"yml" | b"toml" => "data",
        b"pdf" | b"doc" | b"docx" | b"odt" | b"rtf" | b"txt" | b"md" | b"tex" | b"epub"
        | b"xls" | b"xlsx" | b"ods" | b"ppt" | b"pptx" | b"odp" | b"pages" | b"numbers"
        | b"key" => "document",
        b"jpg" | b"jpeg" | b"png" | b"gif" | b"webp" | b"heic" | b"heif" | b"tif" | b"tiff"
        | b"bmp" | b"svg" | b"raw" | b"cr2" | b"cr3" | b"nef" | b"arw" | b"dng" | b"psd"
        | b"xcf" => "image",
        b"eml" | b"mbox" | b"msg" | b"pst" | b"ics" | b"vcf" => "mail",
        b"exe" | b"dll" | b"so" | b"dylib" | b"o" | b"a" | b"class" | b"pyc" | b"wasm" | b"bin"
        | b"msi" => "program",
        b"mp4" | b"mkv" | b"mov" | b"avi" | b"webm" | b"m4v" | b"mpg" | b"mpeg" | b"wmv"
        | b"mts" => "video",
        _ => "other",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_go_by_extension_alone() {
        for (path, kind) in [
            ("/home/a/holiday.JPG", "image"),
            ("/a.b/report", "other"),
            ("/a/.pdf", "other"),
            ("/a/x.tar.gz", "archive"),
            ("/a/notes.md", "document"),
            ("/a/x.averylongone", "other"),
            ("/a/secret.projectname", "other"),
            ("x.", "other"),
            ("", "other"),
        ] {
            assert_eq!(kind_of(path.as_bytes()), kind, "{path}");
        }
    }

    #[test]
    fn only_what_is_there_is_told_rounded_and_in_order() {
        let mut kinds = Kinds::default();
        assert!(kinds.disclosed().is_empty());
        for number in 0..123_u64 {
            kinds.count(format!("/v/{number}.mp4").as_bytes(), 1_234_567);
        }
        kinds.count(b"/a.zip", 7);
        let told = kinds.disclosed();
        let count = |class: &str, files, bytes| TypeCount { class: class.into(), files, bytes };
        assert_eq!(told, [count("archive", 1, 7), count("video", 120, 150_000_000)]);
    }

    #[test]
    fn every_kind_is_in_the_list() {
        for extension in ["gz", "mp3", "rs", "db", "pdf", "png", "eml", "so", "mkv", "xyz"] {
            let kind = kind_of(format!("a.{extension}").as_bytes());
            assert!(CLASSES.contains(&kind), "{kind}");
        }
    }
}
