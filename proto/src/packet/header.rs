//! Packet header (RFC 5340 §A.3.1).

use std::fmt;

use crate::id::{AreaId, RouterId};
use crate::wire::{DecodeError, Fault};

/// The fields of the 16-byte header that do not follow from the body.
///
/// ```text
///  0                   1                   2                   3
///  0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
/// +---------------+---------------+-------------------------------+
/// |  Version (3)  |     Type      |         Packet length         |
/// +---------------+---------------+-------------------------------+
/// |                           Router ID                           |
/// +---------------------------------------------------------------+
/// |                            Area ID                            |
/// +-------------------------------+---------------+---------------+
/// |           Checksum            |  Instance ID  |       0       |
/// +-------------------------------+---------------+---------------+
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PacketHeader {
    /// The sender.
    pub router_id: RouterId,
    /// The area.
    pub area_id: AreaId,
    /// Instance ID (RFC 5340 §2.4).
    pub instance_id: u8,
}

/// The five packet types.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum PacketType {
    /// 1
    Hello = 1,
    /// 2
    DbDesc = 2,
    /// 3
    LsReq = 3,
    /// 4
    LsUpd = 4,
    /// 5
    LsAck = 5,
}

impl fmt::Display for PacketType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            PacketType::Hello => "Hello",
            PacketType::DbDesc => "Database Description",
            PacketType::LsReq => "Link State Request",
            PacketType::LsUpd => "Link State Update",
            PacketType::LsAck => "Link State Acknowledgment",
        })
    }
}

impl PacketHeader {
    /// Bytes on the wire.
    pub const LENGTH: usize = 16;
}

impl PacketType {
    /// The type of this number; `at` is where the number stands.
    pub(super) fn decode(number: u8, at: usize) -> Result<Self, DecodeError> {
        match number {
            1 => Ok(PacketType::Hello),
            2 => Ok(PacketType::DbDesc),
            3 => Ok(PacketType::LsReq),
            4 => Ok(PacketType::LsUpd),
            5 => Ok(PacketType::LsAck),
            other => {
                let fault = Fault::Value { value: other.into(), expected: "1 to 5" };
                Err(DecodeError::new(at, "packet type", fault))
            }
        }
    }
}
