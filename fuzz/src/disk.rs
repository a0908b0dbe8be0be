//! Files that a broken disk, a torn write or another version may have left behind.

use bytes::Bytes;
use roaring::RoaringBitmap;
use unseen_client::backup::commit::Prepared;
use unseen_client::pins::{Pin, Sent};
use unseen_client::state::blocks::Place;
use unseen_client::state::records::{DirKey, Part, PartPlace, header_bytes, parse_header};
use unseen_common::id::{PackNumber, VaultId};
use unseen_server::store::frame::{
    HEADER, Header, MAX_PAYLOAD, Owner, PREFIX, Prefix, find_magic, items,
};
use unseen_server::store::journal::{Journal, JournalError};
use unseen_server::store::journal_files::Journals;
use unseen_server::store::memory::MemJournals;
use unseen_server::store::row::AccountRow;
use unseen_server::store::segment::{self, Segment};
use unseen_server::store::server_row::ServerRow;

use crate::canonical;

const ACCOUNT: VaultId = VaultId::from_bytes([5; 16]);

/// Headers, prefixes of frames and their items.
pub(crate) fn journal(data: &[u8]) {
    if let Some(header) = data.first_chunk::<HEADER>().and_then(Header::from_bytes) {
        assert_eq!(header.to_bytes(), data[..HEADER]);
    }
    if let Some((prefix, payload)) = data.split_first_chunk::<PREFIX>() {
        let length = Prefix::parse(prefix).map_or(0, |prefix| prefix.length);
        assert!(length <= MAX_PAYLOAD);
        drop(items(payload));
    }
    assert!(find_magic(data, 0).is_none_or(|at| at < data.len()));
}

/// A whole journal behind a good header: it is opened, or refused, or what is whole of it is
/// found. `F`, offset and items become a good frame, everything else stands as it is.
pub(crate) fn journal_file(data: &[u8]) {
    let owner = Owner::Account(ACCOUNT);
    let header = Header { owner, salt: [9; 16] };
    let mut content = header.to_bytes().to_vec();
    let mut wanted = 0;
    for part in data.split(|byte| *byte == b'\n') {
        match part.strip_prefix(b"F") {
            Some(item) => {
                let offset = u64::try_from(content.len()).expect("no input is so long");
                let frame = header.key().frame(offset, &[item.to_vec()]);
                content.extend(frame.expect("no input is so long"));
                wanted += 1;
            }
            None => content.extend_from_slice(part),
        }
    }
    let journals = MemJournals::default();
    journals.create(&owner.file_name(), &content).expect("memory");
    let mut salvaged = 0;
    let found = Journal::salvage(&journals, owner, |_| salvaged += 1);
    assert!(found.is_ok() && salvaged == wanted, "{salvaged} of {wanted} frames are whole");
    let mut seen = 0;
    let opened = Journal::open(&journals, owner, |_, _| {
        seen += 1;
        Ok::<_, JournalError>(())
    });
    match opened {
        Ok(Some(_)) => assert_eq!(seen, wanted, "whole frames were dropped as a torn end"),
        Ok(None) => unreachable!("it is there"),
        Err(_) => assert!(seen < wanted, "only whole frames behind a bad one are damage"),
    }
}

/// Rows of the journals of accounts and of the server.
pub(crate) fn server_rows(data: &[u8]) {
    canonical::<AccountRow>(data);
    canonical::<ServerRow>(data);
}

/// The second copy of footers.
pub(crate) fn footer_segment(data: &[u8]) {
    let first = PackNumber(64);
    let (items, whole) = segment::decode(ACCOUNT, first, Bytes::copy_from_slice(data));
    assert!(items.windows(2).all(|pair| pair[0].number < pair[1].number));
    if whole {
        let mut again = Segment::new(ACCOUNT, first);
        for item in &items {
            again.push(item);
        }
        assert_eq!(again.finish().as_deref(), Some(data));
    }
}

/// What the client keeps for itself.
pub(crate) fn own_files(data: &[u8]) {
    canonical::<Pin>(data);
    canonical::<Sent>(data);
    canonical::<Prepared>(data);
    let key = DirKey::of(b"/home");
    if let Some(header) = parse_header(data, key) {
        // The sets of packs in it may be written in several ways.
        let again = parse_header(&header_bytes(&header, key), key);
        assert_eq!(again, Some(header));
    }
    let at = PartPlace { place: Place { offset: 0, length: 0 }, packs: RoaringBitmap::new() };
    if let Some(part) = Part::parse(data.to_vec(), at) {
        let rows = (0..part.len()).map(|index| part.row(index).expect("it is one of them"));
        let name_bytes: usize = rows.map(|row| row.name.len()).sum();
        assert!(name_bytes <= data.len());
    }
}
