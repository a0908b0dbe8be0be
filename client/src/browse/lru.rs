//! What was used last, within a bound.

use std::collections::{BTreeMap, HashMap};
use std::hash::Hash;

/// Keeps what was used last, as long as the weights fit a limit; at least one thing always.
#[derive(Debug)]
pub(crate) struct Lru<K, V> {
    /// Value, weight, and when it was last used.
    entries: HashMap<K, (V, usize, u64)>,
    /// By when they were last used.
    order: BTreeMap<u64, K>,
    limit: usize,
    weight: usize,
    now: u64,
}

impl<K: Hash + Eq + Copy, V: Clone> Lru<K, V> {
    pub(crate) fn new(limit: usize) -> Self {
        Self { entries: HashMap::new(), order: BTreeMap::new(), limit, weight: 0, now: 0 }
    }

    pub(crate) fn get(&mut self, key: &K) -> Option<V> {
        let (value, _, used) = self.entries.get_mut(key)?;
        // The newest stays where it is.
        if *used != self.now {
            self.now += 1;
            self.order.remove(used);
            self.order.insert(self.now, *key);
            *used = self.now;
        }
        Some(value.clone())
    }

    pub(crate) fn put(&mut self, key: K, value: V, weight: usize) {
        self.now += 1;
        if let Some((_, old, used)) = self.entries.insert(key, (value, weight, self.now)) {
            self.weight -= old;
            self.order.remove(&used);
        }
        self.order.insert(self.now, key);
        self.weight += weight;
        while self.weight > self.limit && self.entries.len() > 1 {
            let Some((_, oldest)) = self.order.pop_first() else {
                return;
            };
            if let Some((_, weight, _)) = self.entries.remove(&oldest) {
                self.weight -= weight;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_least_used_goes_first_and_one_always_stays() {
        let mut lru = Lru::new(10);
        lru.put(1, 'a', 4);
        lru.put(2, 'b', 4);
        assert_eq!(lru.get(&1), Some('a'));
        assert_eq!(lru.get(&1), Some('a'));
        lru.put(3, 'c', 4);
        assert_eq!((lru.get(&1), lru.get(&2), lru.get(&3)), (Some('a'), None, Some('c')));
        lru.put(4, 'd', 100);
        assert_eq!((lru.get(&1), lru.get(&3), lru.get(&4)), (None, None, Some('d')));
        lru.put(4, 'e', 1);
        lru.put(5, 'f', 9);
        assert_eq!((lru.get(&4), lru.get(&5)), (Some('e'), Some('f')));
        assert_eq!((lru.weight, lru.order.len()), (10, 2));
    }
}
