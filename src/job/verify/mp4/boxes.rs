//! Boxes, and the numbers inside them. Every length is checked against what is there.

/// Boxes that are looked at in one other box; honest files have some hundred.
const CHILDREN: usize = 20_000;

/// The name of a box.
pub(super) type Name = [u8; 4];

/// One box.
#[derive(Clone, Copy, Debug)]
pub(super) struct Atom<'a> {
    pub(super) name: Name,
    /// Where it begins in the bytes it was found in.
    pub(super) at: usize,
    /// Where its body begins there.
    pub(super) body_at: usize,
    pub(super) body: &'a [u8],
}

/// All boxes of `bytes`, and what is wrong with the one after them.
pub(super) fn boxes(bytes: &[u8]) -> (Vec<Atom<'_>>, Option<String>) {
    let mut found = Vec::new();
    let mut at = 0;
    while at < bytes.len() {
        if found.len() == CHILDREN {
            return (found, Some(format!("there are more than {CHILDREN} boxes in a row")));
        }
        match atom(bytes, at) {
            Ok(atom) => {
                at = atom.body_at + atom.body.len();
                found.push(atom);
            }
            Err(what) => return (found, Some(what)),
        }
    }
    (found, None)
}

fn atom(bytes: &[u8], at: usize) -> Result<Atom<'_>, String> {
    let rest = bytes.get(at..).unwrap_or_default();
    let mut head = Cursor(rest);
    let (Some(small), Some(name)) = (head.u32(), head.array::<4>()) else {
        return Err(format!("{} bytes at {at} are no box", rest.len()));
    };
    let size = match small {
        0 => rest.len() as u64,
        1 => head.u64().ok_or_else(|| format!("box `{}` at {at} has no length", shown(name)))?,
        small => u64::from(small),
    };
    let header = rest.len() - head.0.len();
    let size = usize::try_from(size).ok().filter(|&size| size >= header);
    let body = size.and_then(|size| rest.get(header..size));
    let body = body.ok_or_else(|| format!("box `{}` at {at} is longer than what is left of the file", shown(name)))?;
    Ok(Atom { name, at, body_at: at + header, body })
}

/// Lets the last box, if it is cut, go to the end of the bytes.
pub(in crate::job::verify) fn open_end(bytes: &mut [u8]) {
    let at = boxes(bytes).0.last().map_or(0, |last| last.body_at + last.body.len());
    if bytes.get(at + 4..at + 8) == Some(b"mdat")
        && let Some(size) = bytes.get_mut(at..at + 4)
    {
        size.copy_from_slice(&[0; 4]);
    }
}

/// The name of a box for people.
pub(super) fn shown(name: Name) -> String {
    name.iter().map(|&byte| if byte.is_ascii_graphic() || byte == b' ' { char::from(byte) } else { '?' }).collect()
}

/// The first child of that name.
pub(super) fn child(bytes: &[u8], name: Name) -> Option<Atom<'_>> {
    boxes(bytes).0.into_iter().find(|atom| atom.name == name)
}

/// The body of the box that the path of names leads to.
pub(super) fn descend<'a>(bytes: &'a [u8], path: &[&Name]) -> Option<&'a [u8]> {
    path.iter().try_fold(bytes, |bytes, name| Some(child(bytes, **name)?.body))
}

/// Reads numbers from the front.
#[derive(Clone, Copy, Debug)]
pub(super) struct Cursor<'a>(pub(super) &'a [u8]);

impl<'a> Cursor<'a> {
    pub(super) fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (head, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(head)
    }

    pub(super) fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.take(N)?.try_into().ok()
    }

    pub(super) fn u8(&mut self) -> Option<u8> {
        self.array().map(|[byte]: [u8; 1]| byte)
    }

    pub(super) fn u16(&mut self) -> Option<u16> {
        self.array().map(u16::from_be_bytes)
    }

    pub(super) fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_be_bytes)
    }

    pub(super) fn i32(&mut self) -> Option<i32> {
        self.array().map(i32::from_be_bytes)
    }

    pub(super) fn u64(&mut self) -> Option<u64> {
        self.array().map(u64::from_be_bytes)
    }

    /// The version and the flags that begin a full box.
    pub(super) fn full(&mut self) -> Option<(u8, u32)> {
        let word = self.u32()?;
        Some((word.to_be_bytes()[0], word & 0x00ff_ffff))
    }

    /// A time that has 64 bits from version 1 on.
    pub(super) fn time(&mut self, version: u8) -> Option<u64> {
        if version == 0 { self.u32().map(u64::from) } else { self.u64() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_that_lie_are_named() {
        let good = [&[0, 0, 0, 9][..], b"freeX", &[0, 0, 0, 8], b"mdat"].concat();
        let (found, wrong) = boxes(&good);
        assert_eq!(found.iter().map(|atom| (atom.at, atom.body.len())).collect::<Vec<_>>(), [(0, 1), (9, 0)]);
        assert_eq!(wrong, None);
        for (size, expected) in [(7_u8, "longer"), (200, "longer"), (2, "longer")] {
            let mut bad = good.clone();
            bad[12] = size;
            assert!(boxes(&bad).1.is_some_and(|what| what.contains(expected)), "{size}");
        }
        assert!(boxes(&good[..good.len() - 3]).1.is_some_and(|what| what.contains("no box")));
        assert_eq!(boxes(&[0; 8]).0.len(), 1, "0 is up to the end");
    }
}
