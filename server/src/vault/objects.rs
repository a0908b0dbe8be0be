//! The files that are kept for an account, for its owner.

use unseen_common::id::PackNumber;
use unseen_common::privacy::{ObjectPage, StoredObject, StoredPack};
use unseen_common::vault::{Result, VaultError};

use super::account::{Account, storage_error};
use crate::store::key::{self, Key};
use crate::store::lock;

/// Most files of one answer.
const MOST: usize = 4096;
/// Longest name of a file.
const LONGEST: usize = 256;

impl Account {
    /// The files after the one of this name, by name.
    pub(super) fn objects(&self, after: Option<&str>) -> Result<ObjectPage> {
        let after = after.map(checked).transpose()?.unwrap_or_default();
        let mut page = ObjectPage::default();
        for folder in self.folders()? {
            // All of it lies before, if the folder itself does and does not hold `after`.
            let within =
                after.strip_prefix(folder.as_str()).and_then(|rest| rest.strip_prefix('/'));
            if within.is_none() && folder.as_str() < after {
                continue;
            }
            let mut names = self.listed(&folder)?;
            names.retain(|name| within.is_none_or(|within| name.as_str() > within));
            for name in names {
                if page.objects.len() >= MOST {
                    page.more = true;
                    return Ok(page);
                }
                page.objects.extend(self.object(&folder, &name)?);
            }
        }
        Ok(page)
    }

    /// All folders with files, in order, below that of the account.
    fn folders(&self) -> Result<Vec<String>> {
        let mut folders = Vec::new();
        for kind in self.listed("")? {
            if kind == key::PACKS {
                let shards = self.listed(&kind)?;
                folders.extend(shards.into_iter().map(|shard| format!("{kind}/{shard}")));
            } else {
                folders.push(kind);
            }
        }
        folders.sort();
        Ok(folders)
    }

    /// The names in a folder below that of the account, in order.
    fn listed(&self, folder: &str) -> Result<Vec<String>> {
        let mut path = key::account_folder(self.id);
        if !folder.is_empty() {
            path = format!("{path}/{folder}");
        }
        let mut names = self.store.blobs.list(&path).map_err(|error| storage_error(&error))?;
        names.sort();
        Ok(names)
    }

    /// Nothing if it went meanwhile.
    fn object(&self, folder: &str, name: &str) -> Result<Option<StoredObject>> {
        let key = Key::listed(self.id, folder, name);
        let bytes = self.store.blobs.length(&key).map_err(|error| storage_error(&error))?;
        let pack = key::pack_number_of(name).and_then(|number| self.stored_pack(number));
        Ok(bytes.map(|bytes| StoredObject { name: format!("{folder}/{name}"), bytes, pack }))
    }

    fn stored_pack(&self, number: PackNumber) -> Option<StoredPack> {
        let row = self.store.index.pack(self.id, number);
        let tables = lock(&self.tables);
        let pack = tables.packs.get(number)?;
        Some(StoredPack {
            number,
            id: pack.id,
            device: pack.device,
            footer_len: pack.footer_len,
            content_hash: row.filter(|row| row.id == pack.id).map(|row| row.content_hash),
            sent: tables.packs.stamp(number),
            damaged: tables.packs.is_damaged(number),
        })
    }
}

/// It is compared with names, and is no path; what cannot be a name is refused all the same.
fn checked(name: &str) -> Result<&str> {
    let good = |byte: u8| {
        byte.is_ascii_digit() || byte.is_ascii_lowercase() || matches!(byte, b'/' | b'-')
    };
    if name.len() > LONGEST || !name.bytes().all(good) {
        return Err(VaultError::Invalid("not the name of a file".to_owned()));
    }
    Ok(name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::blobs::Blobs;
    use crate::vault::gc_lab::Lab;

    #[test]
    fn every_file_is_told_once_whatever_the_pages() {
        let mut lab = Lab::new();
        let packs: Vec<_> = (0..3).map(|seed| lab.put(seed)).collect();
        let id = lab.commit(&packs).unwrap();
        // Packs of another shard, so many that they do not fit one page.
        for number in 0..=u32::try_from(MOST).unwrap() {
            let stray = Key::pack(lab.owner.vault, PackNumber(0x1000 + number), packs[0].1.id);
            lab.blobs.put(&stray, &[b"x"]).unwrap();
        }
        let mut seen: Vec<StoredObject> = Vec::new();
        let mut pages = 0;
        loop {
            let after = seen.last().map(|object| object.name.clone());
            let page = lab.account.objects(after.as_deref()).unwrap();
            pages += 1;
            seen.extend(page.objects);
            if !page.more {
                break;
            }
        }
        assert!(pages > 1);
        let names: Vec<&str> = seen.iter().map(|object| object.name.as_str()).collect();
        let mut once = names.clone();
        once.sort_unstable();
        once.dedup();
        assert_eq!(names, once, "in order, each once");
        let manifest = format!("manifests/{id}");
        for name in [
            manifest.as_str(),
            &format!("packsets/{id}"),
            "log/0000000000000002",
            &format!("manifests2/{id}"),
        ] {
            assert!(names.contains(&name), "{name}");
        }
        assert!(names.iter().any(|name| name.starts_with("slots/")));
        let known: Vec<_> = seen.iter().filter_map(|object| object.pack).collect();
        assert_eq!(known.len(), 3, "strays are told, and nothing is known of them");
        let first = known[0];
        assert_eq!((first.number, first.id), (packs[0].0, packs[0].1.id));
        assert_eq!(first.device, lab.machine().id);
        assert!(!first.damaged && first.sent.is_some());
        let bytes: u64 = seen.iter().filter(|o| o.pack.is_some()).map(|o| o.bytes).sum();
        assert_eq!(bytes, lab.account.totals().1);
        assert_eq!(names.iter().filter(|name| name.starts_with("packs/")).count(), MOST + 4);
    }

    #[test]
    fn names_that_cannot_be_are_refused() {
        let lab = Lab::new();
        for bad in ["../x", "A", "a b", "x\0", &"a".repeat(LONGEST + 1)] {
            assert!(lab.account.objects(Some(bad)).is_err(), "{bad}");
        }
        let page = lab.account.objects(Some("zzz")).unwrap();
        assert_eq!(page, ObjectPage::default());
        let all = lab.account.objects(None).unwrap();
        let later = lab.account.objects(Some("log/")).unwrap();
        let of_log = all.objects.iter().filter(|object| object.name.starts_with("log/")).count();
        assert_eq!((later.objects.len(), of_log), (all.objects.len(), 2));
    }
}
