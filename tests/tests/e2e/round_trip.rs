//! Random trees and random changes: what comes back is what was there.

use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use unseen_tests::trees::{self, edit};
use unseen_tests::world;

/// Two snapshots of a tree that a script made and another changed; both come back whole. All cases
/// share a vault, so that later ones find the chunks, packs and records of earlier ones.
#[test]
fn random_trees_come_back_from_either_snapshot() {
    let world = world!();
    let (machine, _) = world.local();
    let config =
        Config { cases: 16, failure_persistence: None, max_shrink_iters: 30, ..Config::default() };
    let rng = TestRng::deterministic_rng(RngAlgorithm::ChaCha);
    let mut runner = TestRunner::new_with_rng(config, rng);
    let cases = (edit::script(40), edit::script(25));
    let number = std::cell::Cell::new(0);
    let result = runner.run(&cases, |(first, second)| {
        number.set(number.get() + 1);
        let source = world.folder(format!("tree {}", number.get()));
        edit::apply(&source, &first);
        let before = trees::capture(&source);
        let older = machine.back_up(&source, &[]).snapshot();
        edit::apply(&source, &second);
        let after = trees::capture(&source);
        let newer = machine.back_up(&source, &[]).snapshot();
        machine.restores_to(&older, &source, &before);
        machine.restores_to(&newer, &source, &after);
        Ok(())
    });
    result.unwrap_or_else(|error| panic!("{error}"));
}

/// A restore over what the changes left behind brings back the older tree, and only that.
#[test]
fn a_restore_over_a_changed_tree_leaves_exactly_the_snapshot() {
    let world = world!();
    let machine = world.local().0.by_passphrase();
    let source = world.folder("tree");
    trees::build::contents(&source);
    trees::build::modes(&source.join("modes"));
    let before = trees::capture(&source);
    let snapshot = machine.back_up(&source, &[]).snapshot();
    let target = world.path("target");
    machine.restore(&snapshot, &target, &[]);
    let copy = trees::beneath(&target, &source);
    trees::assert_same(&before, &trees::capture(&copy));
    std::fs::remove_dir_all(copy.join("many/007")).unwrap();
    std::fs::remove_file(copy.join("text")).unwrap();
    std::fs::create_dir(copy.join("text")).unwrap();
    trees::build::write(&copy, "text/in the way", "x");
    trees::build::write(&copy, "extra/file", "x");
    trees::build::write(&copy, "one", "2");
    machine.restore(&snapshot, &target, &["--delete", "--verify", "--yes"]);
    trees::assert_same(&before, &trees::capture(&copy));
}
