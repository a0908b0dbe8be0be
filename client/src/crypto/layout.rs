//! Fixed little-endian layouts: taking fields off the front, and joining them.

/// What is left of a fixed layout.
pub(crate) struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    /// The next `N` bytes; `None` when fewer are left.
    pub(crate) fn take<const N: usize>(&mut self) -> Option<&'a [u8; N]> {
        let (field, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(field)
    }

    pub(crate) fn u8(&mut self) -> Option<u8> {
        self.take().map(|[byte]| *byte)
    }

    pub(crate) fn u32(&mut self) -> Option<u32> {
        self.take().copied().map(u32::from_le_bytes)
    }
}

/// Joins fields whose lengths add up to `N`; `None` when they do not.
pub(crate) fn join<const N: usize>(fields: &[&[u8]]) -> Option<[u8; N]> {
    let mut out = [0; N];
    let mut rest = out.as_mut_slice();
    for field in fields {
        let (place, left) = rest.split_at_mut_checked(field.len())?;
        place.copy_from_slice(field);
        rest = left;
    }
    rest.is_empty().then_some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_end_where_the_bytes_end() {
        let mut fields = Fields::new(&[1, 2, 0, 0, 0, 9]);
        assert_eq!(fields.u8(), Some(1));
        assert_eq!(fields.u32(), Some(2));
        assert_eq!(fields.take::<2>(), None);
        assert_eq!(fields.take::<1>(), Some(&[9]));
        assert_eq!(fields.u8(), None);
    }

    #[test]
    fn joining_checks_the_length() {
        assert_eq!(join::<3>(&[&[1], &[2, 3]]), Some([1, 2, 3]));
        assert_eq!(join::<2>(&[&[1], &[2, 3]]), None);
        assert_eq!(join::<4>(&[&[1], &[2, 3]]), None);
    }
}
