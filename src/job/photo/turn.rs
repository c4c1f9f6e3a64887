//! Turning pictures upright: the eight ways a camera can be held.

/// One plane of pixels without gaps between its rows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Plane {
    /// Columns.
    pub(super) width: usize,
    /// Rows.
    pub(super) height: usize,
    /// Bytes of one pixel.
    pub(super) depth: usize,
    /// The pixels, row after row.
    pub(super) pixels: Vec<u8>,
}

/// Squares of this edge are turned at once, so that reads and writes stay in the cache.
const TILE: usize = 32;

impl Plane {
    /// The plane as it looks when held as `orientation` (1 to 8, as in Exif) says.
    pub(super) fn upright(self, orientation: u8) -> Self {
        let Way { swapped, from_right, from_bottom } = Way::of(orientation);
        if !swapped && !from_right && !from_bottom {
            return self;
        }
        let (width, height) = if swapped { (self.height, self.width) } else { (self.width, self.height) };
        let mut pixels = vec![0; self.pixels.len()];
        let depth = self.depth;
        for top in (0..height).step_by(TILE) {
            for left in (0..width).step_by(TILE) {
                for row in top..(top + TILE).min(height) {
                    for column in left..(left + TILE).min(width) {
                        let (x, y) = if swapped { (row, column) } else { (column, row) };
                        let x = if from_right { self.width - 1 - x } else { x };
                        let y = if from_bottom { self.height - 1 - y } else { y };
                        let (from, to) = ((y * self.width + x) * depth, (row * width + column) * depth);
                        pixels[to..to + depth].copy_from_slice(&self.pixels[from..from + depth]);
                    }
                }
            }
        }
        Self { width, height, depth, pixels }
    }

    /// The first `width` columns and `height` rows.
    pub(super) fn cropped(self, width: usize, height: usize) -> Self {
        let (width, height) = (width.min(self.width), height.min(self.height));
        if width == self.width {
            let mut pixels = self.pixels;
            pixels.truncate(width * height * self.depth);
            return Self { height, pixels, ..self };
        }
        let mut pixels = Vec::with_capacity(width * height * self.depth);
        for row in self.pixels.chunks_exact(self.width * self.depth).take(height) {
            pixels.extend_from_slice(&row[..width * self.depth]);
        }
        Self { width, height, pixels, ..self }
    }

    /// Repeats the last column and row up to this size.
    pub(super) fn padded(self, width: usize, height: usize) -> Self {
        if width <= self.width && height <= self.height {
            return self;
        }
        let (width, height) = (width.max(self.width), height.max(self.height));
        let mut pixels = Vec::with_capacity(width * height * self.depth);
        for row in self.pixels.chunks_exact(self.width * self.depth) {
            pixels.extend_from_slice(row);
            let last = &row[row.len() - self.depth..];
            (self.width..width).for_each(|_| pixels.extend_from_slice(last));
        }
        let last = pixels[pixels.len() - width * self.depth..].to_vec();
        (self.height..height).for_each(|_| pixels.extend_from_slice(&last));
        Self { width, height, depth: self.depth, pixels }
    }
}

/// How a plane is read: rows for columns, and from which edges.
#[derive(Clone, Copy)]
struct Way {
    swapped: bool,
    from_right: bool,
    from_bottom: bool,
}

impl Way {
    fn of(orientation: u8) -> Self {
        let (swapped, from_right, from_bottom) = match orientation {
            2 => (false, true, false),
            3 => (false, true, true),
            4 => (false, false, true),
            5 => (true, false, false),
            6 => (true, false, true),
            7 => (true, true, true),
            8 => (true, true, false),
            _ => (false, false, false),
        };
        Self { swapped, from_right, from_bottom }
    }
}

/// Whether `orientation` swaps width and height.
pub(super) fn swaps(orientation: u8) -> bool {
    Way::of(orientation).swapped
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `abc` over `def`.
    fn plane() -> Plane {
        Plane { width: 3, height: 2, depth: 1, pixels: b"abcdef".to_vec() }
    }

    #[test]
    fn all_eight_ways_come_out_upright() {
        let expected = ["abcdef", "cbafed", "fedcba", "defabc", "adbecf", "daebfc", "fcebda", "cfbead"];
        for (orientation, expected) in (1..=8).zip(expected) {
            let upright = plane().upright(orientation);
            assert_eq!(String::from_utf8(upright.pixels).unwrap(), expected, "{orientation}");
            assert_eq!((upright.width, upright.height), if swaps(orientation) { (2, 3) } else { (3, 2) });
        }
    }

    #[test]
    fn large_planes_are_turned_like_small_ones() {
        let pixels: Vec<u8> = (0..70 * 50 * 3_u32).map(|number| number.to_le_bytes()[0]).collect();
        let large = Plane { width: 70, height: 50, depth: 3, pixels };
        for (there, back) in [(6, 8), (8, 6), (3, 3), (5, 5), (7, 7), (2, 2)] {
            assert_eq!(large.clone().upright(there).upright(back), large, "{there}");
        }
    }

    #[test]
    fn cropping_and_padding_keep_what_is_inside() {
        let padded = plane().padded(4, 3);
        assert_eq!(padded.pixels, b"abccdeffdeff");
        assert_eq!(padded.cropped(3, 2), plane());
        assert_eq!(plane().cropped(3, 1).pixels, b"abc");
    }
}
