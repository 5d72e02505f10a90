//! How many certificate requests one address may submit: a token bucket each.
//!
//! An IPv6 customer has a whole /64, so that counts as one address. The table is bounded: addresses
//! that find it full share one bucket, so a flood from many of them cannot grow it, and those
//! already in it go on undisturbed.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// The quota's numbers.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct QuotaSettings {
    /// Submissions at once, from an address that was quiet.
    pub burst: u32,
    /// Submissions per second, lastingly. More than 0.
    pub per_second: f64,
    /// Addresses remembered.
    pub addresses: usize,
}

impl Default for QuotaSettings {
    /// A rack behind one address may start at once; ten thousand names a minute may not (faults row 16).
    fn default() -> Self {
        QuotaSettings { burst: 300, per_second: 5.0, addresses: 16_384 }
    }
}

/// The buckets.
#[derive(Debug)]
pub struct Quota {
    settings: QuotaSettings,
    buckets: Mutex<Buckets>,
}

#[derive(Debug)]
struct Buckets {
    known: HashMap<IpAddr, Bucket>,
    others: Bucket,
}

#[derive(Debug, Clone, Copy)]
struct Bucket {
    tokens: f64,
    at: Instant,
}

impl Quota {
    /// Full buckets for everybody.
    pub fn new(settings: QuotaSettings, now: Instant) -> Quota {
        let others = Bucket { tokens: f64::from(settings.burst), at: now };
        Quota { settings, buckets: Mutex::new(Buckets { known: HashMap::new(), others }) }
    }

    /// Takes a token of this address.
    ///
    /// # Errors
    /// None is left; how long until there is one.
    pub fn take(&self, address: IpAddr, now: Instant) -> Result<(), Duration> {
        let mut buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        let full = Bucket { tokens: f64::from(self.settings.burst), at: now };
        let address = network(address);
        if !buckets.known.contains_key(&address) && buckets.known.len() >= self.settings.addresses {
            // Who is full again is as good as unknown.
            buckets.known.retain(|_, bucket| bucket.refilled(&self.settings, now) < full.tokens);
        }
        let room = buckets.known.len() < self.settings.addresses;
        let Buckets { known, others } = &mut *buckets;
        let bucket = match known.get_mut(&address) {
            Some(bucket) => bucket,
            None if room => known.entry(address).or_insert(full),
            None => others,
        };
        bucket.tokens = bucket.refilled(&self.settings, now);
        bucket.at = now;
        if bucket.tokens < 1.0 {
            let seconds = (1.0 - bucket.tokens) / self.settings.per_second;
            return Err(Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX));
        }
        bucket.tokens -= 1.0;
        Ok(())
    }
}

impl Bucket {
    fn refilled(&self, settings: &QuotaSettings, now: Instant) -> f64 {
        let since = now.saturating_duration_since(self.at).as_secs_f64();
        since.mul_add(settings.per_second, self.tokens).min(f64::from(settings.burst))
    }
}

fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => {
            let prefix = u128::from(address) & (u128::MAX << 64);
            IpAddr::V6(prefix.into())
        }
        address => address,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn taken(quota: &Quota, address: &str, tries: usize, now: Instant) -> usize {
        (0..tries).filter(|_| quota.take(ip(address), now).is_ok()).count()
    }

    // faults row 16
    #[test]
    fn a_flood_from_one_address_is_cut_and_others_are_unaffected() {
        let start = Instant::now();
        let quota = Quota::new(QuotaSettings { burst: 10, per_second: 2.0, addresses: 100 }, start);
        assert_eq!(taken(&quota, "10.0.0.1", 10_000, start), 10);
        assert_eq!(quota.take(ip("10.0.0.1"), start), Err(Duration::from_millis(500)));
        assert_eq!(taken(&quota, "10.0.0.2", 5, start), 5);
        assert_eq!(taken(&quota, "10.0.0.1", 10_000, start + Duration::from_secs(3)), 6);
        assert_eq!(taken(&quota, "10.0.0.1", 10_000, start + Duration::from_secs(3600)), 10);
    }

    #[test]
    fn addresses_of_one_ipv6_network_count_as_one_and_mapped_ones_as_ipv4() {
        let start = Instant::now();
        let quota = Quota::new(QuotaSettings { burst: 3, per_second: 1.0, addresses: 100 }, start);
        assert_eq!(taken(&quota, "2001:db8::1", 2, start), 2);
        assert_eq!(taken(&quota, "2001:db8::2", 2, start), 1);
        assert_eq!(taken(&quota, "2001:db8:0:1::2", 2, start), 2);
        assert_eq!(taken(&quota, "10.0.0.1", 2, start), 2);
        assert_eq!(taken(&quota, "::ffff:10.0.0.1", 2, start), 1);
    }

    #[test]
    fn a_full_table_does_not_grow_and_does_not_touch_those_in_it() {
        let start = Instant::now();
        let quota = Quota::new(QuotaSettings { burst: 3, per_second: 1.0, addresses: 2 }, start);
        assert_eq!(taken(&quota, "10.0.0.1", 1, start), 1);
        assert_eq!(taken(&quota, "10.0.0.2", 1, start), 1);
        assert_eq!(taken(&quota, "10.0.0.3", 9, start), 3);
        assert_eq!(taken(&quota, "10.0.0.4", 9, start), 0);
        assert_eq!(taken(&quota, "10.0.0.1", 9, start), 2);
        assert_eq!(quota.buckets.lock().unwrap().known.len(), 2);
        // A minute later the first two are full again and give their places up.
        let later = start + Duration::from_secs(60);
        assert_eq!(taken(&quota, "10.0.0.4", 9, later), 3);
        assert_eq!(quota.buckets.lock().unwrap().known.len(), 1);
    }
}
