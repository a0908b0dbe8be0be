//! A list that mostly has one item: a short file is one chunk, and a million of them must not take
//! two allocations each.

/// A few items, in order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Few<T> {
    /// Nothing.
    #[default]
    None,
    /// One item.
    One([T; 1]),
    /// Any number of items.
    Many(Vec<T>),
}

impl<T: Copy> Few<T> {
    /// Adds an item at the end.
    pub fn push(&mut self, item: T) {
        match self {
            Self::None => *self = Self::One([item]),
            Self::One([first]) => *self = Self::Many(vec![*first, item]),
            Self::Many(items) => items.push(item),
        }
    }

    /// All items.
    pub fn as_slice(&self) -> &[T] {
        match self {
            Self::None => &[],
            Self::One(item) => item,
            Self::Many(items) => items,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn items_stay_in_order() {
        let mut few = Few::default();
        for wanted in [&[][..], &[0], &[0, 1], &[0, 1, 2], &[0, 1, 2, 3]] {
            assert_eq!(few.as_slice(), wanted);
            few.push(wanted.len());
        }
    }
}
