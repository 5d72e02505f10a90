//! How many certificate requests one address may submit: a token bucket each, and a queue behind it.
//!
//! Who finds its bucket empty waits for its turn, since agents of 7.23 take any other answer for a
//! failed run; only who would wait too long, or finds too many waiting, is told to come again.
//!
//! An IPv6 customer has a whole /64, so that counts as one address. The table is bounded: addresses
//! that find it full share one bucket, so a flood from many of them cannot grow it, and those
//! already in it go on undisturbed.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Semaphore;

/// The quota's numbers.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct QuotaSettings {
    /// Submissions at once, from an address that was quiet.
    pub burst: u32,
    /// Submissions per second, lastingly. More than 0.
    pub per_second: f64,
    /// Addresses remembered.
    pub addresses: usize,
    /// Longest wait for a turn.
    pub delay: Duration,
    /// Submissions of all addresses that wait at once; each holds its connection meanwhile.
    pub waiters: usize,
}

impl Default for QuotaSettings {
    /// A rack behind one address may start at once; ten thousand names a minute may not (faults row 16).
    fn default() -> Self {
        QuotaSettings {
            burst: 300,
            per_second: 5.0,
            addresses: 16_384,
            delay: Duration::from_secs(20),
            waiters: 512,
        }
    }
}

/// The buckets.
#[derive(Debug)]
pub struct Quota {
    settings: QuotaSettings,
    buckets: Mutex<Buckets>,
    places: Semaphore,
    refused: AtomicU64,
}

#[derive(Debug)]
struct Buckets {
    known: HashMap<IpAddr, Bucket>,
    others: Bucket,
}

/// Tokens go below zero for those that wait: each has a turn of its own.
#[derive(Debug, Clone, Copy)]
struct Bucket {
    tokens: f64,
    at: Instant,
}

impl Quota {
    /// Full buckets for everybody.
    pub fn new(settings: QuotaSettings, now: Instant) -> Quota {
        let others = Bucket { tokens: f64::from(settings.burst), at: now };
        Quota {
            settings,
            buckets: Mutex::new(Buckets { known: HashMap::new(), others }),
            places: Semaphore::new(settings.waiters.min(Semaphore::MAX_PERMITS)),
            refused: AtomicU64::new(0),
        }
    }

    /// Waits for this address's turn.
    ///
    /// # Errors
    /// The wait would be too long, or too many wait; how long until there is a token.
    pub async fn turn(&self, address: IpAddr) -> Result<(), Duration> {
        let place = self.places.try_acquire();
        let longest = if place.is_ok() { self.settings.delay } else { Duration::ZERO };
        let wait = self.reserve(address, Instant::now(), longest).inspect_err(|_| {
            self.refused.fetch_add(1, Ordering::Relaxed);
        })?;
        if !wait.is_zero() {
            tokio::time::sleep(wait).await;
        }
        Ok(())
    }

    /// How many wait now.
    pub fn waiting(&self) -> usize {
        let places = self.settings.waiters.min(Semaphore::MAX_PERMITS);
        places.saturating_sub(self.places.available_permits())
    }

    /// How many were told to come again, since the start.
    pub fn refused(&self) -> u64 {
        self.refused.load(Ordering::Relaxed)
    }

    /// Takes a token of this address, be it one to come; says how long until it is there.
    fn reserve(&self, address: IpAddr, now: Instant, longest: Duration) -> Result<Duration, Duration> {
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
        let seconds = (1.0 - bucket.tokens).max(0.0) / self.settings.per_second;
        let wait = Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX);
        if wait > longest {
            return Err(wait);
        }
        bucket.tokens -= 1.0;
        Ok(wait)
    }
}

impl Bucket {
    fn refilled(&self, settings: &QuotaSettings, now: Instant) -> f64 {
        let since = now.saturating_duration_since(self.at).as_secs_f64();
        since.mul_add(settings.per_second, self.tokens).min(f64::from(settings.burst))
    }
}

/// What counts as one address.
pub fn network(address: IpAddr) -> IpAddr {
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

    const NO_WAIT: Duration = Duration::ZERO;

    fn quota(burst: u32, per_second: f64, addresses: usize, now: Instant) -> Quota {
        Quota::new(QuotaSettings { burst, per_second, addresses, ..QuotaSettings::default() }, now)
    }

    /// How many of so many tries get a token at once.
    fn taken(quota: &Quota, address: &str, tries: usize, now: Instant) -> usize {
        (0..tries).filter(|_| quota.reserve(ip(address), now, NO_WAIT).is_ok()).count()
    }

    // faults row 16
    #[test]
    fn a_flood_from_one_address_is_cut_and_others_are_unaffected() {
        let start = Instant::now();
        let quota = quota(10, 2.0, 100, start);
        assert_eq!(taken(&quota, "10.0.0.1", 10_000, start), 10);
        assert_eq!(quota.reserve(ip("10.0.0.1"), start, NO_WAIT), Err(Duration::from_millis(500)));
        assert_eq!(taken(&quota, "10.0.0.2", 5, start), 5);
        assert_eq!(taken(&quota, "10.0.0.1", 10_000, start + Duration::from_secs(3)), 6);
        assert_eq!(taken(&quota, "10.0.0.1", 10_000, start + Duration::from_secs(3600)), 10);
    }

    // faults row 16
    #[test]
    fn those_over_the_burst_get_turns_one_after_the_other_up_to_the_longest_wait() {
        let start = Instant::now();
        let quota = quota(2, 2.0, 100, start);
        let longest = Duration::from_secs(2);
        let waits: Vec<_> = (0..8).map(|_| quota.reserve(ip("10.0.0.1"), start, longest)).collect();
        let half = Duration::from_millis(500);
        let expected = [Ok(0), Ok(0), Ok(1), Ok(2), Ok(3), Ok(4), Err(5), Err(5)];
        assert_eq!(waits, expected.map(|wait| wait.map(|n| half * n).map_err(|n| half * n)));
        assert_eq!(quota.reserve(ip("10.0.0.2"), start, longest), Ok(NO_WAIT));
        // A second later two of those turns have come, and there is room for two more.
        let later = start + Duration::from_secs(1);
        let waits: Vec<_> = (0..3).map(|_| quota.reserve(ip("10.0.0.1"), later, longest)).collect();
        assert_eq!(waits, [Ok(half * 3), Ok(half * 4), Err(half * 5)]);
    }

    #[tokio::test]
    async fn more_than_may_wait_are_refused_and_who_hangs_up_gives_the_place_back() {
        let delay = Duration::from_secs(86_400);
        let settings =
            QuotaSettings { burst: 1, per_second: 0.01, waiters: 2, delay, ..QuotaSettings::default() };
        let quota = Quota::new(settings, Instant::now());
        assert_eq!(quota.turn(ip("10.0.0.1")).await, Ok(()));
        assert_eq!(quota.waiting(), 0);
        let (mut first, mut second) =
            (Box::pin(quota.turn(ip("10.0.0.1"))), Box::pin(quota.turn(ip("10.0.0.1"))));
        for turn in [&mut first, &mut second] {
            tokio::select! {
                biased;
                turn = turn => panic!("there was no wait: {turn:?}"),
                () = std::future::ready(()) => {}
            }
        }
        assert_eq!(quota.waiting(), 2);
        assert!(quota.turn(ip("10.0.0.1")).await.is_err());
        assert_eq!(quota.refused(), 1);
        // Who needs not wait needs no place.
        assert_eq!(quota.turn(ip("10.0.0.2")).await, Ok(()));
        drop(second);
        assert_eq!(quota.waiting(), 1);
    }

    #[tokio::test]
    async fn a_turn_comes() {
        let settings = QuotaSettings { burst: 1, per_second: 200.0, ..QuotaSettings::default() };
        let quota = Quota::new(settings, Instant::now());
        for _ in 0..4 {
            assert_eq!(quota.turn(ip("10.0.0.1")).await, Ok(()));
        }
        assert_eq!((quota.waiting(), quota.refused()), (0, 0));
    }

    #[test]
    fn addresses_of_one_ipv6_network_count_as_one_and_mapped_ones_as_ipv4() {
        let start = Instant::now();
        let quota = quota(3, 1.0, 100, start);
        assert_eq!(taken(&quota, "2001:db8::1", 2, start), 2);
        assert_eq!(taken(&quota, "2001:db8::2", 2, start), 1);
        assert_eq!(taken(&quota, "2001:db8:0:1::2", 2, start), 2);
        assert_eq!(taken(&quota, "10.0.0.1", 2, start), 2);
        assert_eq!(taken(&quota, "::ffff:10.0.0.1", 2, start), 1);
    }

    #[test]
    fn a_full_table_does_not_grow_and_does_not_touch_those_in_it() {
        let start = Instant::now();
        let quota = quota(3, 1.0, 2, start);
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
