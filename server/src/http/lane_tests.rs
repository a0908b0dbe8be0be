//! Turns, shares, and that nobody waits for ever. The clock is paused: it moves only when all wait.

use super::*;
use proptest::prelude::*;
use tokio::task::JoinSet;

const SIZE: Size = Size { whole: 96, share: 48, slow: 64 };

fn owner(n: u8) -> Owner {
    Owner::Account(VaultId::from_bytes([n; 16]))
}

/// What somebody gets without waiting.
async fn at_once(lane: &Lane, who: u8, bytes: usize) -> Option<Share> {
    let before = Instant::now();
    let got = lane.take(owner(who), bytes).await.ok();
    got.filter(|_| before.elapsed() < Duration::from_secs(1))
}

#[tokio::test(start_paused = true)]
async fn an_owner_has_a_share_and_others_pass() {
    let lane = Lane::new(SIZE);
    let mut ours = Vec::new();
    for _ in 0..3 {
        ours.push(at_once(&lane, 1, 16).await.unwrap());
    }
    let fourth = {
        let lane = lane.clone();
        tokio::spawn(async move { lane.take(owner(1), 16).await.map(drop) })
    };
    tokio::time::sleep(Duration::from_secs(15)).await;
    let theirs = at_once(&lane, 2, 16).await.unwrap();
    assert!(!lane.is_starved(), "it is its own doing");
    assert_eq!(fourth.await.unwrap(), Err(NoRoom));
    assert!(!lane.is_starved());
    assert_eq!(lane.used(), 64);
    drop(ours.pop());
    ours.push(at_once(&lane, 1, 16).await.unwrap());
    drop((ours, theirs));
    assert_eq!(lane.used(), 0);
    assert!(lock(&lane.0.state).by_owner.is_empty());
}

#[tokio::test(start_paused = true)]
async fn who_waits_for_all_makes_it_starved_for_a_while() {
    let lane = Lane::new(SIZE);
    let held = [at_once(&lane, 1, 48).await.unwrap(), at_once(&lane, 2, 48).await.unwrap()];
    let third = {
        let lane = lane.clone();
        tokio::spawn(async move { lane.take(owner(3), 1).await.map(drop) })
    };
    tokio::time::sleep(LONG / 2).await;
    assert!(!lane.is_starved());
    tokio::time::sleep(LONG).await;
    assert!(lane.is_starved());
    assert_eq!(third.await.unwrap(), Err(NoRoom));
    drop(held);
    assert!(lane.is_starved());
    tokio::time::sleep(REMEMBERED).await;
    assert!(!lane.is_starved());
}

#[tokio::test(start_paused = true)]
async fn what_is_only_announced_is_free_again() {
    let lane = Lane::new(SIZE);
    let mut slow = Vec::new();
    for n in 0..30 {
        let mut share = at_once(&lane, n, 16).await.unwrap();
        share.fall_behind(1).unwrap();
        slow.push(share);
    }
    assert_eq!(lane.used(), 30);
    // Those who are slow never take the last third: this one would fill what they may have.
    let mut quick = at_once(&lane, 40, 48).await.unwrap();
    assert_eq!(quick.fall_behind(35), Err(NoRoom));
    drop(quick);
    // In some order all can be done, so one goes all the way.
    let first = slow.first_mut().unwrap();
    first.more(15).await.unwrap();
    assert_eq!((first.held(), lane.used()), (16, 45));
    assert_eq!(lane.take(owner(41), 16).await.map(drop), Ok(()));
}

#[tokio::test(start_paused = true)]
async fn who_is_gone_gives_back_even_while_it_waits() {
    let lane = Lane::new(SIZE);
    let held = at_once(&lane, 1, 48).await.unwrap();
    let waiting = {
        let lane = lane.clone();
        tokio::spawn(async move { lane.take(owner(1), 48).await.map(drop) })
    };
    tokio::task::yield_now().await;
    waiting.abort();
    assert!(waiting.await.unwrap_err().is_cancelled());
    drop(held);
    let state = lock(&lane.0.state);
    assert!(state.new.is_empty() && state.parts.is_empty() && state.used == 0);
}

#[tokio::test(start_paused = true)]
async fn a_long_one_is_not_passed_for_ever() {
    let lane = Lane::new(Size { share: 96, ..SIZE });
    let held = at_once(&lane, 1, 50).await.unwrap();
    let long = {
        let lane = lane.clone();
        tokio::spawn(async move { lane.take(owner(2), 90).await })
    };
    tokio::task::yield_now().await;
    let short = {
        let lane = lane.clone();
        tokio::spawn(async move { lane.take(owner(3), 10).await })
    };
    tokio::task::yield_now().await;
    assert_eq!(lane.used(), 50);
    drop(held);
    assert_eq!(long.await.unwrap().unwrap().held(), 90);
    assert_eq!(short.await.unwrap().unwrap().held(), 10);
}

/// Takes a part, falls behind at once, and asks for the rest in steps. To be refused when it falls
/// behind is no wait: it gives all back.
async fn crawl(lane: Lane, (who, length, step): (u8, usize, usize)) -> Result<(), NoRoom> {
    let mut share = lane.take(owner(who), length).await?;
    if share.fall_behind(length / 8).is_err() {
        return Ok(());
    }
    while share.held() < length {
        tokio::task::yield_now().await;
        share.more(step.min(length - share.held())).await?;
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// However many crawl at once: all get through, and the clock does not move, so nobody was
    /// waiting for what could not come.
    #[test]
    fn nobody_waits_for_ever(
        crowd in prop::collection::vec((0_u8..6, 1_usize..=16, 1_usize..8), 1..60),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .unwrap();
        let (done, took, used) = runtime.block_on(async {
            let lane = Lane::new(SIZE);
            let start = Instant::now();
            let mut all = JoinSet::new();
            for one in crowd {
                all.spawn(crawl(lane.clone(), one));
            }
            (all.join_all().await, start.elapsed(), lane.used())
        });
        prop_assert!(done.iter().all(Result::is_ok));
        prop_assert_eq!((took, used), (Duration::ZERO, 0));
    }
}
