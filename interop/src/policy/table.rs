//! A router's forwarding table for one prefix: hash buckets and their next hops, as hardware and kernels keep them.

/// Buckets of the hash.
pub const BUCKETS: usize = 4096;

/// How flows are spread over next hops.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Spread {
    /// Each next hop has a contiguous region of the hash (RFC 2992, Linux).
    #[default]
    Threshold,
    /// The hash modulo the number of next hops.
    Modulo,
    /// A bucket moves only if its next hop goes, or has too many.
    Resilient,
}

/// The table: which server a bucket leads to.
#[derive(Clone, Debug)]
pub struct Table {
    spread: Spread,
    /// Per bucket the place of its next hop in `hops`.
    buckets: Vec<usize>,
    /// The next hops: server and weight.
    hops: Vec<(usize, f64)>,
}

impl Table {
    /// An empty table: everything is lost.
    pub fn new(spread: Spread) -> Self {
        Table { spread, buckets: Vec::new(), hops: Vec::new() }
    }

    /// The server of a bucket; none if there is no route.
    pub fn server(&self, bucket: usize) -> Option<usize> {
        let place = self.buckets.get(bucket % BUCKETS)?;
        self.hops.get(*place).map(|(server, _)| *server)
    }

    /// The servers it leads to.
    pub fn servers(&self) -> Vec<usize> {
        let mut servers: Vec<usize> = self.hops.iter().map(|(server, _)| *server).collect();
        servers.dedup();
        servers
    }

    /// Installs next hops (server and weight, in the router's order; a server may have several). Says which part of the
    /// buckets leads elsewhere now.
    pub fn install(&mut self, hops: Vec<(usize, f64)>) -> f64 {
        let before: Vec<Option<usize>> = (0..BUCKETS).map(|bucket| self.server(bucket)).collect();
        match self.spread {
            Spread::Threshold => self.buckets = threshold(&hops),
            Spread::Modulo => self.buckets = (0..BUCKETS).map(|bucket| bucket % hops.len().max(1)).collect(),
            Spread::Resilient => self.buckets = resilient(&before, &hops),
        }
        self.hops = hops;
        if self.hops.is_empty() {
            self.buckets.clear();
        }
        let moved = before.iter().zip(0..).filter(|(before, bucket)| **before != self.server(*bucket)).count();
        moved as f64 / BUCKETS as f64
    }
}

fn threshold(hops: &[(usize, f64)]) -> Vec<usize> {
    let total: f64 = hops.iter().map(|(_, weight)| weight).sum();
    let (mut buckets, mut upper) = (Vec::with_capacity(BUCKETS), 0.0);
    for (place, (_, weight)) in hops.iter().enumerate() {
        upper += weight / total * BUCKETS as f64;
        while (buckets.len() as f64) < upper.round() {
            buckets.push(place);
        }
    }
    buckets
}

/// Keeps every bucket whose server is still there and has not more than its share.
fn resilient(before: &[Option<usize>], hops: &[(usize, f64)]) -> Vec<usize> {
    let mut room: Vec<i64> = vec![0; hops.len()];
    for place in threshold(hops) {
        if let Some(left) = room.get_mut(place) {
            *left += 1;
        }
    }
    let mut kept: Vec<Option<usize>> = before
        .iter()
        .map(|server| {
            let place = (0..hops.len()).find(|place| {
                hops.get(*place).map(|(server, _)| *server) == *server && room.get(*place).is_some_and(|left| *left > 0)
            })?;
            *room.get_mut(place)? -= 1;
            Some(place)
        })
        .collect();
    let mut free: Vec<usize> = Vec::new();
    for (place, left) in room.iter().enumerate() {
        free.extend(std::iter::repeat_n(place, usize::try_from(*left).unwrap_or(0)));
    }
    for place in kept.iter_mut().filter(|place| place.is_none()) {
        *place = free.pop();
    }
    kept.into_iter().flatten().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn equal(servers: impl Iterator<Item = usize>) -> Vec<(usize, f64)> {
        servers.map(|server| (server, 1.0)).collect()
    }

    fn moved(spread: Spread, from: Vec<(usize, f64)>, to: Vec<(usize, f64)>) -> f64 {
        let mut table = Table::new(spread);
        assert_eq!(table.server(0), None);
        assert_eq!(table.install(from), 1.0);
        table.install(to)
    }

    #[test]
    fn every_spread_shares_by_weight() {
        for spread in [Spread::Threshold, Spread::Resilient] {
            let mut table = Table::new(spread);
            table.install(vec![(0, 1.0), (1, 2.0), (2, 1.0)]);
            let of = |server| (0..BUCKETS).filter(|bucket| table.server(*bucket) == Some(server)).count();
            assert_eq!((of(0), of(1), of(2)), (1024, 2048, 1024));
        }
    }

    #[test]
    fn what_moves_when_the_middle_one_of_eight_leaves() {
        let without = || equal((0..8).filter(|server| *server != 3));
        let part = |spread| moved(spread, equal(0..8), without());
        assert!((part(Spread::Threshold) - 0.286).abs() < 0.03);
        assert!((part(Spread::Modulo) - 0.875).abs() < 0.03);
        assert!((part(Spread::Resilient) - 0.125).abs() < 0.001);
    }
}
