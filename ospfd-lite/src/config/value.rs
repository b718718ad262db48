//! Values that say what is allowed when they are wrong.

use std::fmt;
use std::marker::PhantomData;
use std::str::FromStr;
use std::time::Duration;

use serde::de::{self, Deserialize, Deserializer, Visitor};

/// An integer in `MIN..=MAX`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Ranged<const MIN: i64, const MAX: i64>(i64);

impl<const MIN: i64, const MAX: i64> Ranged<MIN, MAX> {
    /// The value; `T` must hold `MIN..=MAX`, else the value is cut to the nearest it can hold.
    pub fn get<T: TryFrom<i64> + Bounded>(self) -> T {
        T::try_from(self.0).unwrap_or(if self.0 < 0 { T::LEAST } else { T::GREATEST })
    }
}

/// The bounds of an integer type.
pub trait Bounded {
    /// The least value.
    const LEAST: Self;
    /// The greatest value.
    const GREATEST: Self;
}

macro_rules! bounded {
    ($($name:ty),*) => {
        $(impl Bounded for $name {
            const LEAST: Self = <$name>::MIN;
            const GREATEST: Self = <$name>::MAX;
        })*
    };
}

bounded!(u8, u16, u32, u64, usize);

impl<'de, const MIN: i64, const MAX: i64> Deserialize<'de> for Ranged<MIN, MAX> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Integer<const MIN: i64, const MAX: i64>;

        impl<const MIN: i64, const MAX: i64> Visitor<'_> for Integer<MIN, MAX> {
            type Value = i64;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "an integer in {MIN}..={MAX}")
            }

            fn visit_i64<E: de::Error>(self, value: i64) -> Result<i64, E> {
                if (MIN..=MAX).contains(&value) {
                    Ok(value)
                } else {
                    Err(E::custom(format_args!("{value} is not allowed; {MIN}..={MAX}")))
                }
            }
        }

        deserializer.deserialize_i64(Integer::<MIN, MAX>).map(Ranged)
    }
}

/// A time in seconds, an integer or a fraction, in `MIN..=MAX` milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Seconds<const MIN: u64, const MAX: u64>(Duration);

impl<const MIN: u64, const MAX: u64> Seconds<MIN, MAX> {
    /// The time.
    pub fn get(self) -> Duration {
        self.0
    }
}

impl<'de, const MIN: u64, const MAX: u64> Deserialize<'de> for Seconds<MIN, MAX> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Number<const MIN: u64, const MAX: u64>;

        impl<const MIN: u64, const MAX: u64> Visitor<'_> for Number<MIN, MAX> {
            type Value = Duration;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "a number of seconds in {}..={}", MIN as f64 / 1e3, MAX as f64 / 1e3)
            }

            fn visit_i64<E: de::Error>(self, value: i64) -> Result<Duration, E> {
                self.visit_f64(value as f64)
            }

            fn visit_f64<E: de::Error>(self, value: f64) -> Result<Duration, E> {
                let (least, greatest) = (MIN as f64 / 1e3, MAX as f64 / 1e3);
                if value.is_nan() || value < least || value > greatest {
                    return Err(E::custom(format_args!("{value} is not allowed; {least}..={greatest} seconds")));
                }
                Ok(Duration::from_secs_f64(value))
            }
        }

        deserializer.deserialize_any(Number::<MIN, MAX>).map(Seconds)
    }
}

/// A value that is written as a string and read by [`FromStr`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Text<T>(pub T);

/// What a [`Text`] value looks like, for its error.
pub trait Example {
    /// A description with an example.
    const EXAMPLE: &'static str;
}

impl Example for ospf_proto::id::RouterId {
    const EXAMPLE: &'static str = "a router ID such as \"192.0.2.1\"";
}

impl Example for ospf_proto::id::AreaId {
    const EXAMPLE: &'static str = "an area ID such as \"0.0.0.0\"";
}

impl Example for ospf_proto::lsa::Prefix {
    const EXAMPLE: &'static str = "an IPv6 prefix such as \"2001:db8:53::53/128\"";
}

impl Example for std::net::IpAddr {
    const EXAMPLE: &'static str = "an IP address such as \"2001:db8::1\"";
}

impl Example for std::net::Ipv6Addr {
    const EXAMPLE: &'static str = "an IPv6 address such as \"2001:db8::1\"";
}

impl Example for std::net::SocketAddr {
    const EXAMPLE: &'static str = "an address with a port such as \"[2001:db8::1]:53\"";
}

impl<'de, T: FromStr + Example> Deserialize<'de> for Text<T>
where
    T::Err: fmt::Display,
{
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Parsed<T>(PhantomData<T>);

        impl<T: FromStr + Example> Visitor<'_> for Parsed<T>
        where
            T::Err: fmt::Display,
        {
            type Value = T;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(T::EXAMPLE)
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<T, E> {
                text.parse()
                    .map_err(|error| E::custom(format_args!("\"{text}\" is not allowed ({error}); {}", T::EXAMPLE)))
            }
        }

        deserializer.deserialize_str(Parsed(PhantomData)).map(Text)
    }
}
