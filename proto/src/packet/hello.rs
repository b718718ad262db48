//! Hello (RFC 5340 §A.3.2).

use crate::id::{IfaceId, RouterId};
use crate::lsa::Options;
use crate::wire::{DecodeError, Reader, Writer};

/// A Hello body.
///
/// ```text
///  0                   1                   2                   3
///  0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
/// +---------------------------------------------------------------+
/// |                         Interface ID                          |
/// +---------------+-----------------------------------------------+
/// | Rtr Priority  |                    Options                    |
/// +---------------+---------------+-------------------------------+
/// |         HelloInterval         |      RouterDeadInterval       |
/// +-------------------------------+-------------------------------+
/// |                     Designated Router ID                      |
/// +---------------------------------------------------------------+
/// |                  Backup Designated Router ID                  |
/// +---------------------------------------------------------------+
/// |                          Neighbor ID                          |
/// +---------------------------------------------------------------+
/// |                              ...                              |
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Hello {
    /// The sender's Interface ID.
    pub iface_id: IfaceId,
    /// Router priority; 0: never DR.
    pub priority: u8,
    /// Options.
    pub options: Options,
    /// HelloInterval, seconds.
    pub hello_interval: u16,
    /// RouterDeadInterval, seconds.
    pub dead_interval: u16,
    /// The DR as the sender sees it; 0.0.0.0: none.
    pub dr: RouterId,
    /// The Backup DR as the sender sees it; 0.0.0.0: none.
    pub bdr: RouterId,
    /// Routers heard recently.
    pub neighbors: Vec<RouterId>,
}

impl Hello {
    /// Length of a body that names no neighbor, bytes.
    pub const FIXED: usize = 20;

    /// Decodes a body up to the end of the reader.
    pub fn decode(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let mut hello = Hello {
            iface_id: IfaceId(r.u32("Interface ID")?),
            priority: r.u8("Rtr Priority")?,
            options: Options::from_bits_retain(r.u24("Options")?),
            hello_interval: r.u16("HelloInterval")?,
            dead_interval: r.u16("RouterDeadInterval")?,
            dr: RouterId(r.u32("Designated Router ID")?),
            bdr: RouterId(r.u32("Backup Designated Router ID")?),
            neighbors: Vec::with_capacity(r.remaining() / 4),
        };
        while !r.is_empty() {
            hello.neighbors.push(RouterId(r.u32("Neighbor ID")?));
        }
        Ok(hello)
    }

    /// Appends the body.
    pub fn encode(&self, w: &mut Writer) {
        w.put_u32(self.iface_id.0);
        w.put_u8(self.priority);
        w.put_u24(self.options.bits());
        w.put_u16(self.hello_interval);
        w.put_u16(self.dead_interval);
        w.put_u32(self.dr.0);
        w.put_u32(self.bdr.0);
        for neighbor in &self.neighbors {
            w.put_u32(neighbor.0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::hex;

    /// RFC 5340 §A.3.2.
    #[test]
    fn golden_bytes() {
        let bytes = hex("00000005 01 000013 000a 0028 c0000201 00000000 c0000201 c0000203");
        let body = Hello {
            iface_id: IfaceId(5),
            priority: 1,
            options: Options::V6 | Options::E | Options::R,
            hello_interval: 10,
            dead_interval: 40,
            dr: "192.0.2.1".parse().unwrap(),
            bdr: RouterId(0),
            neighbors: vec!["192.0.2.1".parse().unwrap(), "192.0.2.3".parse().unwrap()],
        };
        assert_eq!(Hello::decode(&mut Reader::new(&bytes)), Ok(body.clone()));
        let mut w = Writer::new();
        body.encode(&mut w);
        assert_eq!(w.into_vec(), bytes);
    }
}
