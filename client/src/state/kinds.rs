//! Counts files by kind, for owners who let their snapshots tell: by extension alone, one of a
//! closed list, never the name.

use unseen_common::disclosure::{CLASSES, TypeCount, two_digits};

/// Longest extension that says something.
const MAX_EXTENSION: usize = 8;

/// Files and bytes by kind, in the order of [`CLASSES`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Kinds([(u64, u64); CLASSES.len()]);

impl Kinds {
    /// Counts one file by its name.
    pub fn count(&mut self, name: &[u8], size: u64) {
        let kind = kind_of(name);
        for (count, class) in self.0.iter_mut().zip(CLASSES) {
            if class == kind {
                add(count, (1, size));
            }
        }
    }

    /// Takes in what others counted.
    pub fn add(&mut self, other: &Self) {
        for (count, more) in self.0.iter_mut().zip(other.0) {
            add(count, more);
        }
    }

    /// Those of which there are any: place in [`CLASSES`], files, bytes.
    pub fn counts(&self) -> impl Iterator<Item = (u8, u64, u64)> {
        let numbered = (0..).zip(self.0);
        numbered.filter(|(_, (files, _))| *files > 0).map(|(at, (files, bytes))| (at, files, bytes))
    }

    /// Sets one of them; `None` if there is no such class.
    pub fn set(&mut self, class: u8, files: u64, bytes: u64) -> Option<()> {
        *self.0.get_mut(usize::from(class))? = (files, bytes);
        Some(())
    }

    /// What is disclosed: rounded, in the order of the list.
    pub fn disclosed(&self) -> Vec<TypeCount> {
        let count = |(class, (files, bytes)): (&str, (u64, u64))| {
            let (files, bytes) = (two_digits(files), two_digits(bytes));
            TypeCount { class: class.to_owned(), files, bytes }
        };
        CLASSES.into_iter().zip(self.0).filter(|(_, (files, _))| *files > 0).map(count).collect()
    }
}

fn add((files, bytes): &mut (u64, u64), more: (u64, u64)) {
    *files = files.saturating_add(more.0);
    *bytes = bytes.saturating_add(more.1);
}

fn kind_of(name: &[u8]) -> &'static str {
    // A dot at the start hides a file; it is no extension.
    let dot = name.iter().rposition(|b| *b == b'.').filter(|at| *at > 0);
    let extension = dot.and_then(|at| name.get(at + 1..)).unwrap_or_default();
    if extension.is_empty() || extension.len() > MAX_EXTENSION {
        return "other";
    }
    let mut lower = [0; MAX_EXTENSION];
    for (to, from) in lower.iter_mut().zip(extension) {
        *to = from.to_ascii_lowercase();
    }
    match lower.get(..extension.len()).unwrap_or_default() {
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
        for (name, kind) in [
            ("holiday.JPG", "image"),
            ("report", "other"),
            (".pdf", "other"),
            ("x.tar.gz", "archive"),
            ("notes.md", "document"),
            ("x.averylongone", "other"),
            ("secret.projectname", "other"),
            ("x.", "other"),
            ("", "other"),
        ] {
            assert_eq!(kind_of(name.as_bytes()), kind, "{name}");
        }
    }

    #[test]
    fn only_what_is_there_is_told_rounded_and_in_order() {
        let mut kinds = Kinds::default();
        assert!(kinds.disclosed().is_empty());
        for number in 0..123_u64 {
            kinds.count(format!("{number}.mp4").as_bytes(), 1_234_567);
        }
        kinds.count(b"a.zip", 7);
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
