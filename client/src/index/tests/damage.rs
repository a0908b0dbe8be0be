//! Whatever happens to the files: an error or the truth.

use super::*;

const RECORDS: u32 = 150;

/// Two blocks of chunks, each in the pack of its own number plus 1000.
fn sample() -> TempDir {
    let dir = TempDir::new().unwrap();
    let index = open(&dir, 10_000);
    for number in 0..RECORDS {
        index.add_pack(PackNumber(number + 1000), &[id(number)]).unwrap();
    }
    index.flush().unwrap();
    index.forget_packs(&packs([1007])).unwrap();
    dir
}

fn truth(number: u32) -> Option<PackNumber> {
    (number < RECORDS && number != 7).then_some(PackNumber(number + 1000))
}

/// Every `step`th answer is right or an error; how many are errors.
fn errors(index: &Index, step: usize) -> usize {
    let wrong = |number: &u32| match index.lookup(&id(*number), None) {
        Ok(found) => {
            assert_eq!(found, truth(*number), "chunk {number}");
            false
        }
        Err(IndexError::Damaged { .. }) => true,
        Err(other) => panic!("{other}"),
    };
    (0..RECORDS + 20).step_by(step).filter(wrong).count()
}

fn opened(dir: &TempDir) -> Option<Index> {
    match Index::open(dir.path(), VAULT) {
        Ok(index) => Some(index),
        Err(IndexError::Damaged { .. }) => None,
        Err(other) => panic!("{other}"),
    }
}

#[test]
fn a_flipped_bit_in_the_manifest_is_found_at_opening() {
    let dir = sample();
    let path = dir.path().join("MANIFEST");
    let good = fs::read(&path).unwrap();
    for at in 0..good.len() {
        let mut bad = good.clone();
        bad[at] ^= 1 << (at % 8);
        fs::write(&path, &bad).unwrap();
        assert!(opened(&dir).is_none(), "byte {at}");
    }
    for length in 0..good.len() {
        fs::write(&path, &good[..length]).unwrap();
        assert!(opened(&dir).is_none(), "{length} bytes");
    }
    fs::write(&path, [good.as_slice(), &[0]].concat()).unwrap();
    assert!(opened(&dir).is_none());
    fs::write(&path, &good).unwrap();
    assert_eq!(errors(&opened(&dir).unwrap(), 1), 0);
}

#[test]
fn a_flipped_bit_in_a_run_is_found_at_opening_or_at_the_lookup() {
    let dir = sample();
    let path = dir.path().join("run-0000000000000000");
    let good = fs::read(&path).unwrap();
    let blocks = run::BLOCK..3 * run::BLOCK;
    assert_eq!(good.len(), 3 * run::BLOCK + 2 * 8 + 192);
    let write = |at: usize, byte: u8| {
        let file = fs::OpenOptions::new().write(true).open(&path).unwrap();
        std::os::unix::fs::FileExt::write_all_at(&file, &[byte], at as u64).unwrap();
    };
    for at in blocks.clone() {
        // One that remembers no block yet.
        let index = opened(&dir).unwrap();
        write(at, good[at] ^ (1 << (at % 8)));
        // The first block holds 113 of the 150.
        assert!(errors(&index, 9) >= 2, "byte {at}");
        write(at, good[at]);
    }
    for at in (0..blocks.start).chain(blocks.end..good.len()) {
        write(at, good[at] ^ (1 << (at % 8)));
        assert!(opened(&dir).is_none(), "byte {at}");
        write(at, good[at]);
    }
    assert_eq!(errors(&opened(&dir).unwrap(), 1), 0);
}

#[test]
fn a_run_of_another_length_is_refused_and_one_cut_later_is_an_error() {
    let dir = sample();
    let path = dir.path().join("run-0000000000000000");
    let good = fs::read(&path).unwrap();
    let index = opened(&dir).unwrap();
    let file = fs::OpenOptions::new().write(true).open(&path).unwrap();
    file.set_len(9000).unwrap();
    let failed = errors(&index, 1);
    assert!((20..60).contains(&failed), "{failed}");
    // Nothing is merged from a run like this, and nothing is lost by the attempt.
    index.add_pack(PackNumber(5), &ids(5000..5200)).unwrap();
    assert!(matches!(index.flush(), Err(IndexError::Damaged { .. })));
    assert_eq!(index.lookup(&id(5100), None).unwrap(), Some(PackNumber(5)));
    drop(index);
    for length in (0..good.len()).step_by(97) {
        fs::write(&path, &good[..length]).unwrap();
        assert!(opened(&dir).is_none(), "{length} bytes");
    }
    fs::remove_file(&path).unwrap();
    let error = Index::open(dir.path(), VAULT).unwrap_err().to_string();
    assert!(error.ends_with("run-0000000000000000: it is missing"), "{error}");
    Index::wipe(dir.path()).unwrap();
    assert!(opened(&dir).unwrap().is_empty());
}

#[test]
fn blocks_and_runs_in_each_others_place_are_found() {
    let dir = sample();
    let path = dir.path().join("run-0000000000000000");
    let good = fs::read(&path).unwrap();
    let mut swapped = good.clone();
    let (first, second) = swapped[run::BLOCK..3 * run::BLOCK].split_at_mut(run::BLOCK);
    first.swap_with_slice(second);
    fs::write(&path, &swapped).unwrap();
    assert!(errors(&opened(&dir).unwrap(), 1) >= RECORDS as usize - 1);

    // A run of the same number and the same chunks, from another life of the index.
    let other = TempDir::new().unwrap();
    let index = Index::open(other.path(), VAULT).unwrap();
    index.add_pack(PackNumber(1), &ids(0..RECORDS)).unwrap();
    index.flush().unwrap();
    fs::copy(other.path().join("run-0000000000000000"), &path).unwrap();
    assert!(opened(&dir).is_none());
    let error = Index::open(dir.path(), VaultId::from_bytes([6; 16])).unwrap_err();
    assert!(error.to_string().ends_with("it belongs to another vault"), "{error}");
}

#[test]
fn files_have_the_bytes_they_always_had() {
    let dir = sample();
    let pins = ["MANIFEST", "run-0000000000000000"].map(|name| {
        let hash = blake3::hash(&fs::read(dir.path().join(name)).unwrap());
        data_encoding::HEXLOWER.encode(&hash.as_bytes()[..8])
    });
    assert_eq!(pins, ["f4af102c39e39290", "7b990150ec0e8d5f"]);
}

#[test]
fn a_block_that_was_verified_is_not_read_again_while_there_is_room_for_it() {
    let dir = sample();
    let (roomy, narrow) = (1024, 1);
    for (blocks, found) in [(roomy, true), (narrow, false)] {
        let index =
            Index::open_with(dir.path(), ORIGIN, Limits { blocks, ..Limits::DEFAULT }).unwrap();
        assert_eq!(errors(&index, 1), 0);
        let run = fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().path());
        let run = run.max_by_key(|path| fs::metadata(path).unwrap().len()).unwrap();
        let good = fs::read(&run).unwrap();
        let mut bad = good.clone();
        // The first record of each of both blocks.
        bad[4096] ^= 1;
        bad[8192] ^= 1;
        fs::write(&run, &bad).unwrap();
        assert_eq!(errors(&index, 1) == 0, found);
        fs::write(&run, &good).unwrap();
    }
}
