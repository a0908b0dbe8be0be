use proptest::prelude::*;

use super::*;

const MIB: u64 = 1024 * 1024;
const ALL: u64 = u64::MAX;

fn device(n: u8) -> DeviceId {
    DeviceId::from_bytes([n; 16])
}

fn pack(number: u32, of: u8, (length, body, live): (u64, u64, u64)) -> Weighed {
    Weighed { number: PackNumber(number), device: device(of), length, body, live }
}

fn full(number: u32, of: u8, live: u64) -> Weighed {
    pack(number, of, (16 * MIB, 15 * MIB, live))
}

fn limits(unused: Tolerated, rewrite: u64) -> Limits {
    Limits { unused, rewrite }
}

fn percent(percent: u32) -> Tolerated {
    Tolerated::Millionths(percent * 10_000)
}

fn rewritten(plan: &Plan) -> Vec<u32> {
    plan.devices.values().flat_map(|share| share.rewrite.iter().map(|n| n.0)).collect()
}

#[test]
fn the_emptiest_go_first_until_enough_is_used() {
    let packs =
        [full(0, 1, 15 * MIB), full(1, 1, 12 * MIB), full(2, 1, 4 * MIB), full(3, 1, 8 * MIB)];
    // 39 MiB are needed, 21 are not.
    assert_eq!(rewritten(&plan(&packs, &limits(Tolerated::Bytes(0), ALL))), [1, 2, 3]);
    assert_eq!(rewritten(&plan(&packs, &limits(Tolerated::Bytes(10 * MIB), ALL))), [2]);
    assert_eq!(rewritten(&plan(&packs, &limits(Tolerated::Bytes(9 * MIB), ALL))), [2, 3]);
    // 20 % of what is left: a fourth of what is needed, 9.75 MiB.
    assert_eq!(rewritten(&plan(&packs, &limits(percent(20), ALL))), [2, 3]);
    assert!(plan(&packs, &limits(percent(40), ALL)).is_empty());
    assert!(plan(&packs, &limits(Tolerated::Unlimited, ALL)).is_empty());
    assert_eq!(rewritten(&plan(&packs, &limits(Tolerated::Bytes(0), 40 * MIB))), [2, 3]);
    assert_eq!(rewritten(&plan(&packs, &limits(Tolerated::Bytes(0), MIB))), [0_u32; 0]);
}

#[test]
fn what_nobody_needs_costs_nothing() {
    let packs = [full(0, 1, 0), full(1, 2, 14 * MIB)];
    let plan = plan(&packs, &limits(percent(5), 0));
    assert_eq!(rewritten(&plan), [0]);
    let share = &plan.devices[&device(1)];
    assert_eq!((share.new_packs, share.becomes, share.rewritten), (0, 0, 16 * MIB));
}

#[test]
fn nothing_is_written_anew_that_gains_nothing() {
    // The smallest pack there is stays as long as it is.
    let small = pack(0, 1, (64 * 1024, 40 * 1024, 20 * 1024));
    assert!(plan(&[small], &limits(Tolerated::Bytes(0), ALL)).is_empty());
    // Two of them become one; of two devices they do not.
    let other = pack(1, 1, (64 * 1024, 40 * 1024, 20 * 1024));
    let plan_of = |packs: &[Weighed]| plan(packs, &limits(Tolerated::Bytes(0), ALL));
    assert_eq!(rewritten(&plan_of(&[small, other])), [0, 1]);
    assert!(plan_of(&[small, Weighed { device: device(2), ..other }]).is_empty());
}

#[test]
fn many_small_packs_of_a_device_are_joined() {
    let tiny = |n: u32, of: u8| pack(n, of, (64 * 1024, 50 * 1024, 50 * 1024));
    let few: Vec<Weighed> = (0..15).map(|n| tiny(n, 1)).collect();
    assert!(plan(&few, &limits(percent(5), ALL)).is_empty());
    let mut many: Vec<Weighed> = (0..16).map(|n| tiny(n, 1)).collect();
    many.push(tiny(16, 2));
    let joined = plan(&many, &limits(percent(5), ALL));
    assert_eq!(rewritten(&joined), (0..16).collect::<Vec<_>>());
    let share = &joined.devices[&device(1)];
    assert_eq!((share.new_packs, share.becomes), (1, MIB));
    assert!(
        plan(&many, &limits(percent(5), MIB - 1)).is_empty(),
        "as many as are worth it, or none"
    );
}

fn any_packs() -> impl Strategy<Value = Vec<Weighed>> {
    let one = (1_u8..4, 16_u32..=24, 0_u64..=100, 0_u64..=130);
    prop::collection::vec(one, 0..80).prop_map(|rows| {
        let weigh = |(number, (of, log, filled, live)): (u32, (u8, u32, u64, u64))| {
            let length = 1_u64 << log;
            let room = length - ENDS;
            // Packs are at least half full, but for the smallest.
            let body = if log == 16 { room * filled / 100 } else { room * (100 + filled) / 200 };
            let body = body.max(1);
            pack(number, of, (length, body, body * live.min(100) / 100))
        };
        (0..).zip(rows).map(weigh).collect()
    })
}

/// What a plan leads to, if all goes as it says.
fn carried_out(packs: &[Weighed], plan: &Plan) -> Vec<Weighed> {
    let gone: BTreeSet<PackNumber> =
        plan.devices.values().flat_map(|share| share.rewrite.iter().copied()).collect();
    let mut left: Vec<Weighed> =
        packs.iter().filter(|pack| !gone.contains(&pack.number)).copied().collect();
    let mut next = 1000;
    for (of, share) in &plan.devices {
        let live: u64 =
            packs.iter().filter(|p| share.rewrite.contains(&p.number)).map(|p| p.live).sum();
        let mut rest = live;
        let mut lengths = share.becomes;
        for n in 0..share.new_packs {
            let last = n + 1 == share.new_packs;
            let length = if last { lengths } else { largest(lengths, share.new_packs - n) };
            let body = if last { rest } else { rest.min(length.saturating_sub(ENDS)) };
            left.push(Weighed { number: PackNumber(next), device: *of, length, body, live: body });
            (next, rest, lengths) = (next + 1, rest - body, lengths - length);
        }
    }
    left
}

fn largest(lengths: u64, packs: u64) -> u64 {
    let mut length = MAX_PACK;
    while length > MIN_PACK && length + (packs - 1) * MIN_PACK > lengths {
        length /= 2;
    }
    length
}

proptest! {
    #[test]
    fn plans_keep_their_bounds(packs in any_packs(), share in 0_u32..60, budget in 0_u64..200 * MIB) {
        let plan = plan(&packs, &limits(percent(share), budget));
        let mut seen = BTreeSet::new();
        let mut read = 0;
        for (of, share) in &plan.devices {
            for number in &share.rewrite {
                let pack = packs.iter().find(|pack| pack.number == *number).unwrap();
                prop_assert_eq!(pack.device, *of, "of another device");
                prop_assert!(seen.insert(*number), "twice");
                read += if pack.live > 0 { pack.length } else { 0 };
            }
            prop_assert!(share.becomes <= share.rewritten, "it grows: {share:?}");
            prop_assert!(share.rewrite.is_sorted());
        }
        prop_assert!(read <= budget);
    }

    #[test]
    fn without_bounds_no_more_is_unused_than_is_tolerated(packs in any_packs(), share in 0_u32..60) {
        let limits = limits(percent(share), ALL);
        let plan = plan(&packs, &limits);
        let left = carried_out(&packs, &plan);
        let dead = |packs: &[Weighed]| packs.iter().map(Weighed::dead).sum::<u64>();
        // But for what would gain nothing: less than a pack's length in each device.
        prop_assert!(dead(&left) <= tolerated(&packs, limits.unused) + 3 * MAX_PACK);
        prop_assert!(dead(&left) <= dead(&packs));
    }

    #[test]
    fn compacting_again_and_again_comes_to_an_end(packs in any_packs(), share in 0_u32..60) {
        let limits = limits(percent(share), ALL);
        let mut packs = packs;
        for _ in 0..5 {
            let plan = plan(&packs, &limits);
            if plan.is_empty() {
                return Ok(());
            }
            packs = carried_out(&packs, &plan);
        }
        prop_assert!(false, "{packs:?}");
    }

    #[test]
    fn estimates_hold_what_they_are_for(live in 1_u64..100 * MIB) {
        let (packs, bytes) = become_of(live);
        prop_assert!(bytes >= live + packs * ENDS / 2);
        prop_assert!(bytes <= live + live / 50 + 2 * MIB, "{bytes} for {live}");
    }
}
