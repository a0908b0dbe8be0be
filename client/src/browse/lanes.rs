//! Requests on their way, several at a time: while one answer begins, others fill the link.

use std::sync::{Arc, Mutex as Lock, PoisonError};
use std::time::Duration;

use tokio::sync::{Mutex, OwnedSemaphorePermit, Semaphore};
use tokio::task::{JoinError, JoinSet};
use tokio::time::Instant;
use unseen_common::vault::VaultError;

/// Requests at a time over a link that shows to be slow, and over any other one. On a slow one each
/// of many would get so little that the server takes it for one who does not listen.
const WIDTH: [usize; 2] = [2, 12];
/// Requests at a time before anything is known: with more, a link of 256 kbit/s would bring every one
/// of the first to less than the server's minimum rate.
const START: usize = 3;
/// An answer that takes longer shows that the link is slow, one that takes a quarter of it that it
/// is not.
const SLOW: Duration = Duration::from_secs(16);

/// Lets a number of requests go at a time, of all who ask together.
///
/// Who comes first gets all his requests on their way before the next one: so one pack after
/// another is complete, rather than all of them late.
#[derive(Debug)]
pub(super) struct Lanes {
    turn: Mutex<()>,
    open: Arc<Open>,
}

#[derive(Debug)]
struct Open {
    bounds: [usize; 2],
    width: Lock<usize>,
    free: Arc<Semaphore>,
}

impl Default for Lanes {
    fn default() -> Self {
        Self::new(WIDTH, START)
    }
}

impl Lanes {
    fn new(bounds: [usize; 2], start: usize) -> Self {
        let (width, free) = (Lock::new(start), Arc::new(Semaphore::new(start)));
        Self { turn: Mutex::default(), open: Arc::new(Open { bounds, width, free }) }
    }

    /// Asks for each of `wanted`, in order, and hands on what arrives, in any order. The first
    /// error ends it, and what is still on its way is dropped.
    pub(super) async fn all<W, T, E, F>(
        &self,
        wanted: impl IntoIterator<Item = W>,
        ask: impl Fn(W) -> F,
        mut arrived: impl FnMut(T) -> Result<(), E>,
    ) -> Result<(), E>
    where
        T: Send + 'static,
        E: From<VaultError>,
        F: Future<Output = Result<T, VaultError>> + Send + 'static,
    {
        let mut under_way = JoinSet::new();
        let turn = self.turn.lock().await;
        for one in wanted {
            let lane = Arc::clone(&self.open.free).acquire_owned().await;
            while let Some(done) = under_way.try_join_next() {
                arrived(answer(done)?)?;
            }
            let (asked, open) = (ask(one), Arc::clone(&self.open));
            under_way.spawn(async move {
                let begun = Instant::now();
                let answer = asked.await;
                if let Ok(lane) = lane {
                    open.leave(lane, begun.elapsed());
                }
                answer
            });
        }
        drop(turn);
        while let Some(done) = under_way.join_next().await {
            arrived(answer(done)?)?;
        }
        Ok(())
    }
}

impl Open {
    /// A request is done.
    fn leave(&self, lane: OwnedSemaphorePermit, took: Duration) {
        let mut width = self.width.lock().unwrap_or_else(PoisonError::into_inner);
        let next = next_width(*width, self.bounds, took);
        if next < *width {
            lane.forget();
        } else {
            self.free.add_permits(next.saturating_sub(*width));
        }
        *width = next;
    }
}

/// How many requests may go at a time after one of them took so long.
fn next_width(width: usize, [least, most]: [usize; 2], took: Duration) -> usize {
    if took >= SLOW {
        width.saturating_sub(1).max(least)
    } else if took <= SLOW / 4 {
        width.saturating_add(1).min(most)
    } else {
        width
    }
}

fn answer<T>(done: Result<Result<T, VaultError>, JoinError>) -> Result<T, VaultError> {
    done.unwrap_or_else(|error| Err(VaultError::BadAnswer(error.to_string())))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashMap;
    use std::sync::Mutex as Lock;
    use tokio::sync::oneshot;

    type Answers = Arc<Lock<HashMap<u32, oneshot::Sender<Result<u32, VaultError>>>>>;

    /// Somebody who is asked, and answers when the test says so.
    #[derive(Debug, Default, Clone)]
    struct Asked {
        order: Arc<Lock<Vec<u32>>>,
        answers: Answers,
    }

    impl Asked {
        fn ask(&self, what: u32) -> impl Future<Output = Result<u32, VaultError>> + use<> {
            let (send, receive) = oneshot::channel();
            self.order.lock().unwrap().push(what);
            self.answers.lock().unwrap().insert(what, send);
            async { receive.await.unwrap() }
        }

        fn order(&self) -> Vec<u32> {
            self.order.lock().unwrap().clone()
        }

        fn answer(&self, what: u32, answer: Result<u32, VaultError>) {
            self.answers.lock().unwrap().remove(&what).unwrap().send(answer).unwrap();
        }
    }

    /// Everything that can go on has gone on: all runs in this thread.
    async fn settle() {
        for _ in 0..20 {
            tokio::task::yield_now().await;
        }
    }

    fn fetch(
        lanes: &Arc<Lanes>,
        asked: &Asked,
        wanted: std::ops::Range<u32>,
    ) -> tokio::task::JoinHandle<Result<Vec<u32>, VaultError>> {
        let (lanes, asked) = (Arc::clone(lanes), asked.clone());
        tokio::spawn(async move {
            let mut got = Vec::new();
            let arrived = |what| {
                got.push(what);
                Ok(())
            };
            lanes.all(wanted, |what| asked.ask(what), arrived).await?;
            Ok(got)
        })
    }

    #[tokio::test]
    async fn so_many_at_a_time_and_the_first_to_come_are_served_first() {
        let (lanes, asked) = (Arc::new(Lanes::new([3, 3], 3)), Asked::default());
        let first = fetch(&lanes, &asked, 0..4);
        let second = fetch(&lanes, &asked, 10..12);
        settle().await;
        assert_eq!(asked.order(), [0, 1, 2]);
        asked.answer(1, Ok(1));
        settle().await;
        assert_eq!(asked.order(), [0, 1, 2, 3]);
        // All requests of the first are on their way, so the next free place is for the second.
        asked.answer(3, Ok(3));
        settle().await;
        assert_eq!(asked.order(), [0, 1, 2, 3, 10]);
        asked.answer(0, Ok(0));
        asked.answer(2, Ok(2));
        settle().await;
        assert_eq!(asked.order(), [0, 1, 2, 3, 10, 11]);
        assert_eq!(first.await.unwrap().unwrap(), [1, 3, 0, 2]);
        asked.answer(11, Ok(11));
        asked.answer(10, Ok(10));
        assert_eq!(second.await.unwrap().unwrap(), [11, 10]);
    }

    #[tokio::test]
    async fn an_error_asks_for_nothing_more_and_leaves_the_lanes_free() {
        let (lanes, asked) = (Arc::new(Lanes::new([2, 2], 2)), Asked::default());
        let failing = fetch(&lanes, &asked, 0..9);
        settle().await;
        asked.answer(0, Err(VaultError::StaleIndex));
        assert!(matches!(failing.await.unwrap(), Err(VaultError::StaleIndex)));
        assert_eq!(asked.order(), [0, 1]);
        let next = fetch(&lanes, &asked, 20..22);
        settle().await;
        assert_eq!(asked.order(), [0, 1, 20, 21]);
        asked.answer(20, Ok(20));
        asked.answer(21, Ok(21));
        assert_eq!(next.await.unwrap().unwrap(), [20, 21]);
    }

    #[test]
    fn a_slow_link_gets_fewer_requests_and_a_quick_one_more_again() {
        let bounds @ [least, most] = WIDTH;
        let after = |width, took| next_width(width, bounds, took);
        let second = Duration::from_secs(1);
        assert_eq!(after(most, SLOW), most - 1);
        assert_eq!(after(least, 2 * SLOW), least);
        assert_eq!(after(most - 1, SLOW / 2), most - 1);
        assert_eq!(after(most - 1, second), most);
        assert_eq!(after(most, second), most);
        assert_eq!(after(START, second), START + 1);
    }

    #[tokio::test]
    async fn what_is_narrower_by_one_has_one_lane_less() {
        let lanes = Lanes::new([2, 4], 4);
        let free = || lanes.open.free.available_permits();
        let lane = || Arc::clone(&lanes.open.free).try_acquire_owned().unwrap();
        for expected in [3, 2, 2] {
            lanes.open.leave(lane(), SLOW);
            assert_eq!(free(), expected);
        }
        for expected in [3, 4, 4] {
            lanes.open.leave(lane(), Duration::ZERO);
            assert_eq!(free(), expected);
        }
    }
}
