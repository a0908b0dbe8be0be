//! Manifests, lists of packs and slots are stored twice, in folders of their own: each is all that
//! there is of something, and a sector that rots must not take it along. Packs are not: their
//! content can be sent again.

use std::io;

use bytes::Bytes;

use super::blobs::Blobs;
use super::key::Key;

/// What `read` makes of a blob, or else of its second copy; nothing if it takes neither, or if they
/// are not there.
pub fn either<T>(
    blobs: &dyn Blobs,
    key: &Key,
    mut read: impl FnMut(&Bytes) -> Option<T>,
) -> io::Result<Option<T>> {
    let mut failed = None;
    for (key, second) in [(key.clone(), false), (key.second(), true)] {
        match blobs.get(&key) {
            Ok(Some(bytes)) => {
                if let Some(found) = read(&bytes) {
                    if second {
                        tracing::error!("a file is damaged or gone; its second copy is used");
                    }
                    return Ok(Some(found));
                }
            }
            Ok(None) => {}
            Err(error) if is_bad_sector(&error) => {
                tracing::error!("the disk cannot read a file");
            }
            Err(error) => failed = Some(error),
        }
    }
    failed.map_or(Ok(None), Err)
}

/// Whether the disk could not read what is there.
pub fn is_bad_sector(error: &io::Error) -> bool {
    error.raw_os_error() == Some(rustix::io::Errno::IO.raw_os_error())
}

#[cfg(test)]
mod tests {
    use super::super::memory::MemBlobs;
    use super::*;
    use unseen_common::id::{Hash, VaultId};

    #[test]
    fn the_second_copy_serves_where_the_first_does_not() {
        let blobs = MemBlobs::default();
        let key = Key::slots(VaultId::from_bytes([1; 16]), Hash::from_bytes([2; 32]));
        let good = |bytes: &Bytes| (bytes == "good").then_some(bytes.len());
        assert_eq!(either(&blobs, &key, good).unwrap(), None);
        blobs.put(&key.second(), &[b"good"]).unwrap();
        assert_eq!(either(&blobs, &key, good).unwrap(), Some(4));
        blobs.put(&key, &[b"bad"]).unwrap();
        assert_eq!(either(&blobs, &key, good).unwrap(), Some(4));
        blobs.put(&key.second(), &[b"bad"]).unwrap();
        assert_eq!(either(&blobs, &key, good).unwrap(), None);
        blobs.put(&key, &[b"good"]).unwrap();
        assert_eq!(either(&blobs, &key, good).unwrap(), Some(4));
    }
}
