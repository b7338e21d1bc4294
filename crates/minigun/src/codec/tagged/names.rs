//! The names an item has used so far, numbered in the order of their first use.
//!
//! Both sides keep this table and number by the same rule ([`Names::push`]), so the numbers need not travel.

/// Longer names take no number; see "Limits" in the module above.
pub(super) const MAX_NAME: usize = 63;
pub(super) const MAX_NAMES: usize = 128;
pub(super) const NEW_NAME: u8 = 0x80;
pub(super) const NEW_NAME_MAX: u8 = NEW_NAME + MAX_NAME as u8;
pub(super) const LONG_NAME: u8 = 0xc0;

/// As many as most items have: these need no allocation.
const INLINE: usize = 16;

pub(super) struct Names<'a> {
    first: [&'a str; INLINE],
    rest: Vec<&'a str>,
    len: usize,
    /// The number after the last one found: fields mostly follow each other as they did before.
    expected: usize,
}

impl<'a> Names<'a> {
    #[inline]
    pub(super) fn new() -> Self {
        Names { first: [""; INLINE], rest: Vec::new(), len: 0, expected: 0 }
    }

    /// Gives `name` the next number, if there is one left.
    #[inline]
    pub(super) fn push(&mut self, name: &'a str) {
        if let Some(slot) = self.first.get_mut(self.len) {
            *slot = name;
        } else if self.len < MAX_NAMES {
            self.rest.push(name);
        } else {
            return;
        }
        self.len += 1;
        self.expected = self.len;
    }

    #[inline]
    pub(super) fn get(&self, number: usize) -> Option<&'a str> {
        if number >= self.len {
            return None;
        }
        match self.first.get(number) {
            Some(name) => Some(name),
            None => self.rest.get(number - INLINE).copied(),
        }
    }

    /// The number of `name`, found by its address: the same name at another address merely gets a second
    /// number.
    #[inline]
    pub(super) fn number_of(&mut self, name: &str) -> Option<u8> {
        let found = match self.get(self.expected) {
            Some(expected) if std::ptr::eq(expected, name) => self.expected,
            _ => self.search(name)?,
        };
        self.expected = found + 1;
        u8::try_from(found).ok()
    }

    fn search(&self, name: &str) -> Option<usize> {
        let known = self.first.iter().take(self.len).chain(&self.rest);
        known.copied().position(|known| std::ptr::eq(known, name))
    }
}
