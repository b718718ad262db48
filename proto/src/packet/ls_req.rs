//! Link State Request (RFC 5340 §A.3.4).

use crate::id::{LinkStateId, RouterId};
use crate::lsa::LsType;
use crate::wire::{DecodeError, Reader, Writer};

/// A Link State Request body.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LsReq {
    /// What is asked for.
    pub requests: Vec<LsRequest>,
}

/// One requested LSA.
///
/// ```text
///  0                   1                   2                   3
///  0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
/// +-------------------------------+-------------------------------+
/// |               0               |            LS Type            |
/// +-------------------------------+-------------------------------+
/// |                         Link State ID                         |
/// +---------------------------------------------------------------+
/// |                      Advertising Router                       |
/// +---------------------------------------------------------------+
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LsRequest {
    /// LS type.
    pub ls_type: LsType,
    /// Link State ID.
    pub link_state_id: LinkStateId,
    /// Advertising Router.
    pub adv_router: RouterId,
}

impl LsReq {
    /// Decodes a body up to the end of the reader.
    pub fn decode(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let mut requests = Vec::with_capacity(r.remaining() / LsRequest::LENGTH);
        while !r.is_empty() {
            r.u16("reserved")?;
            requests.push(LsRequest {
                ls_type: LsType(r.u16("LS Type")?),
                link_state_id: LinkStateId(r.u32("Link State ID")?),
                adv_router: RouterId(r.u32("Advertising Router")?),
            });
        }
        Ok(LsReq { requests })
    }

    /// Appends the body.
    pub fn encode(&self, w: &mut Writer) {
        for request in &self.requests {
            w.put_u16(0);
            w.put_u16(request.ls_type.0);
            w.put_u32(request.link_state_id.0);
            w.put_u32(request.adv_router.0);
        }
    }
}

impl LsRequest {
    /// Bytes on the wire.
    pub const LENGTH: usize = 12;
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::hex;

    /// RFC 5340 §A.3.4.
    #[test]
    fn golden_bytes() {
        let bytes = hex("0000 2001 00000000 c0000201  0000 a00c 00000001 c0000202");
        let request = |ls_type, id, router: &str| LsRequest {
            ls_type,
            link_state_id: LinkStateId(id),
            adv_router: router.parse().unwrap(),
        };
        let body = LsReq {
            requests: vec![
                request(LsType::ROUTER, 0, "192.0.2.1"),
                request(LsType::ROUTER_INFORMATION, 1, "192.0.2.2"),
            ],
        };
        assert_eq!(LsReq::decode(&mut Reader::new(&bytes)), Ok(body.clone()));
        let mut w = Writer::new();
        body.encode(&mut w);
        assert_eq!(w.into_vec(), bytes);
    }
}
