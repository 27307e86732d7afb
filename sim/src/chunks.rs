//! A list that grows in pieces. A run notes hundreds of thousands of events: one vector of them would be copied into one twice as
//! large again and again, and an allocator that keeps what it was given back (ours does, from one run to the next) keeps each of
//! those sizes.

/// How many bytes a piece holds, at least one item.
const PIECE: usize = 64 * 1024;

/// See the module.
#[derive(Clone, Debug)]
pub struct Chunks<T>(Vec<Vec<T>>);

impl<T> Default for Chunks<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<T> Chunks<T> {
    /// How many items a piece holds.
    const ITEMS: usize = {
        let size = if size_of::<T>() == 0 { 1 } else { size_of::<T>() };
        if size > PIECE { 1 } else { PIECE / size }
    };

    /// Puts an item behind the others.
    pub fn push(&mut self, item: T) {
        match self.0.last_mut() {
            Some(piece) if piece.len() < Self::ITEMS => piece.push(item),
            Some(_) | None => {
                let mut piece = Vec::with_capacity(Self::ITEMS);
                piece.push(item);
                self.0.push(piece);
            }
        }
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.iter().map(Vec::len).sum()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// In the order they came.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = &T> {
        self.0.iter().flatten()
    }

    /// In the order they came.
    pub fn iter_mut(&mut self) -> impl DoubleEndedIterator<Item = &mut T> {
        self.0.iter_mut().flatten()
    }

    /// The newest.
    #[must_use]
    pub fn last(&self) -> Option<&T> {
        self.0.last()?.last()
    }
}

impl<T> FromIterator<T> for Chunks<T> {
    fn from_iter<I: IntoIterator<Item = T>>(items: I) -> Self {
        let mut chunks = Self::default();
        items.into_iter().for_each(|item| chunks.push(item));
        chunks
    }
}

impl<'a, T> IntoIterator for &'a Chunks<T> {
    type Item = &'a T;
    type IntoIter = std::iter::Flatten<std::slice::Iter<'a, Vec<T>>>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.iter().flatten()
    }
}

/// In the order they came; a piece that was passed on is freed.
impl<T> IntoIterator for Chunks<T> {
    type Item = T;
    type IntoIter = std::iter::Flatten<std::vec::IntoIter<Vec<T>>>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter().flatten()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_are_full_and_keep_the_order() {
        let none: Chunks<u64> = Chunks::default();
        assert!(none.is_empty() && none.last().is_none());
        let count = Chunks::<u64>::ITEMS * 2 + 1;
        let chunks: Chunks<u64> = (0..count as u64).collect();
        assert_eq!(chunks.0.iter().map(Vec::capacity).collect::<Vec<_>>(), [8192; 3], "none grew");
        assert_eq!((chunks.len(), chunks.last()), (count, Some(&(count as u64 - 1))));
        assert!(chunks.iter().copied().eq(0..count as u64));
        assert!(chunks.into_iter().eq(0..count as u64));
    }

    #[test]
    fn what_is_larger_than_a_piece_has_one_of_its_own() {
        let mut chunks = Chunks::default();
        chunks.push([7_u8; PIECE + 1]);
        chunks.push([8_u8; PIECE + 1]);
        assert_eq!((chunks.0.len(), chunks.len()), (2, 2));
    }
}
