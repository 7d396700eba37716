//! Decisions made of an input's bytes, so that an input can be anything with structure. Behind the last byte
//! everything is 0, so each input is one, and one that is cut short is a simpler one.

/// What is left of an input.
#[derive(Debug, Clone)]
pub struct Source<'i>(&'i [u8]);

impl<'i> Source<'i> {
    /// All of it.
    #[must_use]
    pub fn new(input: &'i [u8]) -> Self {
        Self(input)
    }

    /// True when nothing is left.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// One byte.
    pub fn byte(&mut self) -> u8 {
        match self.0.split_first() {
            Some((first, rest)) => {
                self.0 = rest;
                *first
            }
            None => 0,
        }
    }

    /// True or false.
    pub fn flag(&mut self) -> bool {
        self.byte() & 1 == 1
    }

    /// A number below `end`, or 0.
    pub fn below(&mut self, end: usize) -> usize {
        let wide = if end > 256 { usize::from(self.byte()) << 8 } else { 0 };
        (wide | usize::from(self.byte())) % end.max(1)
    }

    /// A number; small ones and those at the edges are more frequent.
    pub fn number(&mut self) -> u64 {
        match self.byte() {
            small @ 0..128 => u64::from(small),
            kind @ 128..192 => {
                let edge = 1_u64.rotate_left(u32::from(kind));
                edge.wrapping_add(u64::from(self.byte() % 3)).wrapping_sub(1)
            }
            192..208 => u64::MAX - u64::from(self.byte()),
            _ => u64::from_le_bytes(std::array::from_fn(|_| self.byte())),
        }
    }

    /// At most `max` bytes as they come, as many as the next byte says.
    pub fn bytes(&mut self, max: usize) -> &'i [u8] {
        let count = self.below(max + 1).min(self.0.len());
        let (taken, rest) = self.0.split_at(count);
        self.0 = rest;
        taken
    }

    /// A text of at most `max` characters, of which many mean something somewhere.
    pub fn text(&mut self, max: usize) -> String {
        const CHARS: [char; 32] = [
            '\0',
            '\u{1}',
            'a',
            'b',
            'A',
            'z',
            '0',
            '9',
            '/',
            '%',
            '.',
            '-',
            '_',
            '+',
            '&',
            '=',
            '?',
            '#',
            ' ',
            '"',
            '\\',
            '\n',
            '\r',
            '\u{7f}',
            '\u{80}',
            '\u{e9}',
            '\u{7ff}',
            '\u{800}',
            '\u{ffff}',
            '\u{10000}',
            '\u{10ffff}',
            '~',
        ];
        let count = self.below(max + 1);
        let mut text = String::new();
        for _ in 0..count {
            text.push(match self.byte() {
                byte @ 0..96 => CHARS[usize::from(byte) % CHARS.len()],
                byte @ 96..224 => char::from(byte - 96),
                _ => char::from_u32(self.number() as u32 % 0x11_0000).unwrap_or('\u{fffd}'),
            });
        }
        text
    }

    /// One of these.
    pub fn pick<'c, T>(&mut self, choices: &'c [T]) -> &'c T {
        &choices[self.below(choices.len())]
    }

    /// What is left.
    #[must_use]
    pub fn rest(self) -> &'i [u8] {
        self.0
    }
}
