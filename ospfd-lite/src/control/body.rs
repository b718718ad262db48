//! The body of an LSA as JSON.

use ospf_proto::lsa::{
    AsExternalLsa, FARM_TLV_TYPE, Lsa, LsaBody, LsaPrefix, PrefixOptions, RouterFlags, RouterLinkType, Tlv,
};
use serde_json::{Value, json};

use super::show::options;

/// The body of an LSA; an unknown one as hexadecimal digits.
pub(super) fn value(lsa: &Lsa) -> Value {
    match &lsa.body {
        LsaBody::Router(router) => json!({
            "flags": flags(router.flags),
            "options": options(router.options),
            "links": router.links.iter().map(|link| json!({
                "type": match link.link_type {
                    RouterLinkType::PointToPoint => "point-to-point".to_owned(),
                    RouterLinkType::Transit => "transit".to_owned(),
                    RouterLinkType::Virtual => "virtual".to_owned(),
                    RouterLinkType::Other(other) => other.to_string(),
                },
                "metric": link.metric,
                "interface_id": link.iface_id.0,
                "neighbor_interface_id": link.neighbor_iface_id.0,
                "neighbor_router_id": link.neighbor_router_id.to_string(),
            })).collect::<Vec<_>>(),
        }),
        LsaBody::Network(network) => json!({
            "options": options(network.options),
            "attached_routers": network.attached.iter().map(ToString::to_string).collect::<Vec<_>>(),
        }),
        LsaBody::InterAreaPrefix(inter) => json!({
            "prefix": inter.prefix.to_string(),
            "prefix_options": prefix_options(inter.options),
            "metric": inter.metric,
        }),
        LsaBody::InterAreaRouter(inter) => json!({
            "options": options(inter.options),
            "metric": inter.metric,
            "destination_router_id": inter.destination.to_string(),
        }),
        LsaBody::AsExternal(external) | LsaBody::Nssa(external) => external_value(external),
        LsaBody::Link(link) => json!({
            "priority": link.priority,
            "options": options(link.options),
            "link_local": link.link_local.to_string(),
            "prefixes": prefixes(&link.prefixes),
        }),
        LsaBody::IntraAreaPrefix(intra) => json!({
            "referenced_ls_type": intra.referenced_type.0,
            "referenced_ls_type_name": intra.referenced_type.to_string(),
            "referenced_link_state_id": intra.referenced_id.to_string(),
            "referenced_adv_router": intra.referenced_router.to_string(),
            "prefixes": prefixes(&intra.prefixes),
        }),
        LsaBody::RouterInformation(information) => json!({
            "tlvs": information.tlvs.iter().map(tlv).collect::<Vec<_>>(),
        }),
        LsaBody::Unknown => json!({ "hex": hex(lsa.raw.get(20..).unwrap_or_default()) }),
    }
}

fn external_value(external: &AsExternalLsa) -> Value {
    json!({
        "prefix": external.prefix.to_string(),
        "prefix_options": prefix_options(external.options),
        "metric_type": if external.type_2 { 2 } else { 1 },
        "metric": external.metric,
        "forwarding_address": external.forwarding.map(|address| address.to_string()),
        "tag": external.tag,
    })
}

fn prefixes(prefixes: &[LsaPrefix]) -> Vec<Value> {
    let values = prefixes.iter().map(|prefix| {
        json!({
            "prefix": prefix.prefix.to_string(),
            "prefix_options": prefix_options(prefix.options),
            "metric": prefix.metric,
        })
    });
    values.collect()
}

fn tlv(tlv: &Tlv) -> Value {
    let name = match tlv.tlv_type {
        Tlv::INFORMATIONAL_CAPABILITIES => "informational-capabilities",
        FARM_TLV_TYPE => "farm",
        _ => "unknown",
    };
    json!({ "type": tlv.tlv_type, "name": name, "hex": hex(&tlv.value) })
}

fn flags(flags: RouterFlags) -> String {
    let named = flags & (RouterFlags::B | RouterFlags::E | RouterFlags::V | RouterFlags::NT);
    named.iter_names().map(|(name, _)| name).collect::<Vec<_>>().join("|")
}

fn prefix_options(options: PrefixOptions) -> String {
    let named =
        options & (PrefixOptions::NU | PrefixOptions::LA | PrefixOptions::MC | PrefixOptions::P | PrefixOptions::DN);
    named.iter_names().map(|(name, _)| name).collect::<Vec<_>>().join("|")
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
