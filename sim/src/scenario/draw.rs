//! Values that the seed chooses. Integers only: `exp` and `ln` of the platform's libm differ between machines, and a seed
//! must mean the same run everywhere.

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde_json::Value;

use super::duration::Span;

/// A value, or a distribution that a value is drawn from: once a seed, or anew each time it is needed.
///
/// What the number counts (nanoseconds, bytes, records) is known to the field that holds it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Draw {
    /// Always this.
    Fixed(u64),
    /// Each number of `low..=high` as likely as any other.
    Uniform {
        /// The smallest.
        low: u64,
        /// The largest.
        high: u64,
    },
    /// Log-normal with this median and this 99th percentile; cut off at the 1st and 999th of a thousand.
    LogNormal {
        /// Half of the values are below.
        p50: u64,
        /// One in a hundred is above.
        p99: u64,
    },
    /// One of the list, each as likely as any other. Never empty.
    OneOf(Vec<u64>),
}

impl Draw {
    /// The next value.
    pub fn sample(&self, rng: &mut StdRng) -> u64 {
        match self {
            Self::Fixed(value) => *value,
            Self::Uniform { low, high } => rng.random_range(*low..=*high),
            Self::LogNormal { p50, p99 } => log_normal(*p50, *p99, rng.random_range(0..512)),
            Self::OneOf(values) => values[rng.random_range(0..values.len())],
        }
    }

    /// The largest value it may give.
    #[must_use]
    pub fn largest(&self) -> u64 {
        match self {
            Self::Fixed(value) => *value,
            Self::Uniform { high, .. } => *high,
            Self::LogNormal { p50, p99 } => log_normal(*p50, *p99, 511),
            Self::OneOf(values) => values.iter().copied().max().unwrap_or(0),
        }
    }

    /// The smallest value it may give.
    #[must_use]
    pub fn smallest(&self) -> u64 {
        match self {
            Self::Fixed(value) => *value,
            Self::Uniform { low, .. } => *low,
            Self::LogNormal { p50, p99 } => log_normal(*p50, *p99, 0),
            Self::OneOf(values) => values.iter().copied().min().unwrap_or(0),
        }
    }

    /// Whether it gives nothing but 0.
    #[must_use]
    pub fn is_zero(&self) -> bool {
        self.largest() == 0
    }

    /// Reads a checked value: a number, a duration or a draw table of either.
    ///
    /// Errors: a sentence that says what is wrong.
    pub fn parse(value: &Value, unit: Unit) -> Result<Self, String> {
        let Value::Object(table) = value else {
            return Ok(Self::Fixed(unit.parse(value)?));
        };
        let (Some((word, inner)), 1) = (table.iter().next(), table.len()) else {
            return Err("a draw has exactly one of `uniform`, `lognormal` and `one-of`".into());
        };
        match word.as_str() {
            "uniform" => Self::parse_uniform(inner, unit),
            "lognormal" => Self::parse_log_normal(inner, unit),
            "one-of" => match inner.as_array().map(Vec::as_slice) {
                None | Some([]) => Err("`one-of` takes a list of at least one value".into()),
                Some(values) => values
                    .iter()
                    .map(|value| unit.parse(value))
                    .collect::<Result<_, _>>()
                    .map(Self::OneOf),
            },
            _ => Err(match super::error::suggest(word, ["uniform", "lognormal", "one-of"]) {
                Some(help) => format!("`{word}` is not a kind of draw: {help}"),
                None => format!("`{word}` is not a kind of draw"),
            }),
        }
    }

    fn parse_uniform(inner: &Value, unit: Unit) -> Result<Self, String> {
        let Some([low, high]) = inner.as_array().map(Vec::as_slice) else {
            return Err("`uniform` takes the smallest and the largest value: `[low, high]`".into());
        };
        let (low, high) = (unit.parse(low)?, unit.parse(high)?);
        if low > high {
            return Err("`uniform` takes the smaller value first".into());
        }
        Ok(Self::Uniform { low, high })
    }

    fn parse_log_normal(inner: &Value, unit: Unit) -> Result<Self, String> {
        let shape = "`lognormal` takes `{ p50 = …, p99 = … }`";
        let table = inner.as_object().filter(|table| table.len() == 2).ok_or(shape)?;
        let p50 = unit.parse(table.get("p50").ok_or(shape)?)?;
        let p99 = unit.parse(table.get("p99").ok_or(shape)?)?;
        if p50 == 0 || p50 > p99 {
            return Err("`lognormal` needs 0 < p50 <= p99".into());
        }
        if p99 / p50 > 1_000_000 {
            return Err("`lognormal` needs p99 within a million times p50".into());
        }
        Ok(Self::LogNormal { p50, p99 })
    }

    /// Its values as JSON in `unit`: what [`Draw::parse`] reads.
    #[must_use]
    pub fn to_json(&self, unit: Unit) -> Value {
        let show = |value: u64| unit.to_json(value);
        match self {
            Self::Fixed(value) => show(*value),
            Self::Uniform { low, high } => {
                serde_json::json!({ "uniform": [show(*low), show(*high)] })
            }
            Self::LogNormal { p50, p99 } => {
                serde_json::json!({ "lognormal": { "p50": show(*p50), "p99": show(*p99) } })
            }
            Self::OneOf(values) => {
                let values: Vec<Value> = values.iter().map(|value| show(*value)).collect();
                serde_json::json!({ "one-of": values })
            }
        }
    }
}

/// What the numbers of a draw are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// Plain numbers.
    Count,
    /// Durations with their unit; nanoseconds inside.
    Time,
}

impl Unit {
    fn parse(self, value: &Value) -> Result<u64, String> {
        match (self, value) {
            (Self::Count, Value::Number(number)) => number
                .as_u64()
                .ok_or_else(|| format!("expected a whole number of at least 0, found {number}")),
            (Self::Count, other) => {
                Err(format!("expected a whole number, found {}", describe(other)))
            }
            (Self::Time, Value::String(text)) => Span::parse(text).map(Span::nanos),
            (Self::Time, Value::Number(number)) => Err(format!(
                "the duration `{number}` has no unit: write `\"{number}s\"` or `\"{number}ms\"`"
            )),
            (Self::Time, other) => {
                Err(format!("expected a duration such as \"250ms\", found {}", describe(other)))
            }
        }
    }

    fn to_json(self, value: u64) -> Value {
        match self {
            Self::Count => Value::from(value),
            Self::Time => Value::from(Span::from_nanos(value).exact()),
        }
    }
}

/// What kind of value this is, with its article.
#[must_use]
pub fn describe(value: &Value) -> String {
    match value {
        Value::Null => "null".into(),
        Value::Bool(value) => format!("`{value}`"),
        Value::Number(number) => format!("the number {number}"),
        Value::String(text) => format!("the text \"{text}\""),
        Value::Array(_) => "a list".into(),
        Value::Object(_) => "a table".into(),
    }
}

/// The generator of the field at `pointer`: each field has its own, so adding or removing one changes no other's draws.
#[must_use]
pub fn rng_of(seed: u64, pointer: &str) -> StdRng {
    let mut bytes = [0; 32];
    for (lane, slot) in (0u64..).zip(bytes.chunks_exact_mut(8)) {
        let mixed = mix(seed ^ mix(hash(pointer).wrapping_add(lane)));
        slot.copy_from_slice(&mixed.to_le_bytes());
    }
    StdRng::from_seed(bytes)
}

/// FNV-1a of 64 bits: fixed, unlike the standard library's hasher, which may change between compilers.
#[must_use]
pub fn hash(text: &str) -> u64 {
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}

/// The finalizer of splitmix64: neighbouring seeds give unlike states.
fn mix(value: u64) -> u64 {
    let value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ (value >> 31)
}

/// The value of rank `rank` of 512 in a log-normal distribution: `p50 * (p99 / p50) ^ z`, where `z` counts distances from
/// the median to the 99th percentile.
fn log_normal(p50: u64, p99: u64, rank: usize) -> u64 {
    let z = if rank >= 256 { Z_OF_RANK[rank - 256] } else { -Z_OF_RANK[255 - rank] };
    let exponent = (log2_ratio(p99, p50) * i128::from(z)) >> 16;
    let whole = exponent >> 32;
    let fraction = u64::try_from(exponent & 0xffff_ffff).expect("32 bits");
    let scaled = u128::from(p50) * u128::from(exp2_fraction(fraction));
    let shifted = match u32::try_from(whole) {
        Ok(up) => scaled.checked_shl(up).unwrap_or(u128::MAX) >> 32,
        Err(_) => scaled >> (32 + whole.unsigned_abs().min(95)),
    };
    u64::try_from(shifted).unwrap_or(u64::MAX)
}

/// log2(`above` / `below`) with 32 fractional bits, for `above >= below > 0`.
fn log2_ratio(above: u64, below: u64) -> i128 {
    let mut ratio = (u128::from(above) << 32) / u128::from(below);
    let mut log: i128 = 0;
    while ratio >= 2 << 32 {
        ratio >>= 1;
        log += 1 << 32;
    }
    for bit in (0..32).rev() {
        ratio = (ratio * ratio) >> 32;
        if ratio >= 2 << 32 {
            ratio >>= 1;
            log += 1 << bit;
        }
    }
    log
}

/// 2^(`fraction` / 2^32), with 32 fractional bits.
fn exp2_fraction(fraction: u64) -> u64 {
    let mut result: u128 = 1 << 32;
    for (index, root) in ROOTS_OF_TWO.iter().enumerate() {
        if fraction & (1 << (31 - index)) != 0 {
            result = (result * u128::from(*root)) >> 32;
        }
    }
    u64::try_from(result).expect("less than 2, with 32 fractional bits")
}

/// 2^(2^-i) for i in 1..=24, with 32 fractional bits.
const ROOTS_OF_TWO: [u64; 24] = [
    6_074_001_000,
    5_107_605_667,
    4_683_695_048,
    4_485_121_744,
    4_389_014_833,
    4_341_736_423,
    4_318_288_544,
    4_306_612_134,
    4_300_785_774,
    4_297_875_550,
    4_296_421_177,
    4_295_694_175,
    4_295_330_720,
    4_295_149_004,
    4_295_058_149,
    4_295_012_722,
    4_294_990_009,
    4_294_978_653,
    4_294_972_974,
    4_294_970_135,
    4_294_968_716,
    4_294_968_006,
    4_294_967_651,
    4_294_967_473,
];

/// The upper half of the normal distribution's inverse: entry i is the quantile (i + 256.5) / 512 over the 99th
/// percentile, times 2^16. The lower half is its mirror image.
#[rustfmt::skip]
const Z_OF_RANK: [i64; 256] = [
    69, 207, 345, 483, 621, 759, 897, 1_035, 1_173, 1_311, 1_449, 1_587, 1_725, 1_863, 2_002, 2_140,
    2_278, 2_417, 2_555, 2_694, 2_832, 2_971, 3_109, 3_248, 3_387, 3_526, 3_665, 3_804, 3_944,
    4_083, 4_222, 4_362, 4_501, 4_641, 4_781, 4_921, 5_061, 5_201, 5_342, 5_482, 5_623, 5_764,
    5_905, 6_046, 6_187, 6_328, 6_470, 6_611, 6_753, 6_895, 7_037, 7_180, 7_322, 7_465, 7_608,
    7_751, 7_895, 8_038, 8_182, 8_326, 8_470, 8_614, 8_759, 8_904, 9_049, 9_194, 9_340, 9_486,
    9_632, 9_778, 9_925, 10_072, 10_219, 10_366, 10_514, 10_662, 10_810, 10_959, 11_108, 11_257,
    11_407, 11_557, 11_707, 11_857, 12_008, 12_159, 12_311, 12_463, 12_615, 12_768, 12_921, 13_074,
    13_228, 13_382, 13_537, 13_692, 13_847, 14_003, 14_159, 14_316, 14_473, 14_631, 14_789, 14_947,
    15_106, 15_266, 15_426, 15_586, 15_747, 15_909, 16_071, 16_233, 16_396, 16_560, 16_724, 16_889,
    17_054, 17_220, 17_387, 17_554, 17_722, 17_890, 18_059, 18_229, 18_399, 18_571, 18_742, 18_915,
    19_088, 19_262, 19_436, 19_612, 19_788, 19_965, 20_142, 20_321, 20_500, 20_680, 20_861, 21_043,
    21_226, 21_410, 21_594, 21_780, 21_966, 22_153, 22_342, 22_531, 22_722, 22_913, 23_106, 23_299,
    23_494, 23_690, 23_887, 24_085, 24_284, 24_485, 24_687, 24_890, 25_094, 25_300, 25_507, 25_716,
    25_926, 26_137, 26_350, 26_564, 26_780, 26_998, 27_217, 27_438, 27_660, 27_884, 28_110, 28_338,
    28_568, 28_799, 29_033, 29_268, 29_506, 29_746, 29_988, 30_232, 30_478, 30_727, 30_978, 31_232,
    31_488, 31_747, 32_009, 32_273, 32_541, 32_811, 33_084, 33_361, 33_640, 33_924, 34_210, 34_500,
    34_794, 35_092, 35_393, 35_699, 36_009, 36_323, 36_642, 36_966, 37_295, 37_629, 37_968, 38_313,
    38_664, 39_020, 39_384, 39_754, 40_130, 40_514, 40_906, 41_306, 41_715, 42_132, 42_559, 42_996,
    43_443, 43_902, 44_372, 44_856, 45_353, 45_864, 46_391, 46_935, 47_496, 48_078, 48_680, 49_306,
    49_957, 50_636, 51_346, 52_089, 52_871, 53_696, 54_570, 55_500, 56_494, 57_564, 58_725, 59_994,
    61_398, 62_974, 64_776, 66_889, 69_464, 72_795, 77_627, 87_254,
];

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn draw(value: &Value, unit: Unit) -> Draw {
        Draw::parse(value, unit).unwrap()
    }

    #[test]
    fn log_normal_has_the_median_and_the_percentile_it_names() {
        let (p50, p99) = (1_000_000, 40_000_000);
        let values: Vec<u64> = (0..512).map(|rank| log_normal(p50, p99, rank)).collect();
        assert!(values.is_sorted());
        assert!((990_000..=1_000_000).contains(&values[255]), "{}", values[255]);
        assert!((1_000_000..=1_010_000).contains(&values[256]), "{}", values[256]);
        let at_99 = values[506];
        assert!((37_000_000..=40_000_000).contains(&at_99), "{at_99}");
        assert!(values[507] > p99);
    }

    #[test]
    fn a_field_keeps_its_draws_whatever_other_fields_there_are() {
        // Goldens: a change here changes the meaning of every seed anybody wrote down.
        let spread = draw(&json!({ "uniform": [0, 1000] }), Unit::Count);
        let of = |seed, pointer| spread.sample(&mut rng_of(seed, pointer));
        let drawn = [of(1, "/disk/sync"), of(2, "/disk/sync"), of(1, "/network/latency")];
        expect_test::expect!["[281, 219, 994]"].assert_eq(&format!("{drawn:?}"));
    }

    #[test]
    fn wrong_draws_are_refused_with_the_reason() {
        let check = |value: Value, expected: &str| {
            assert_eq!(Draw::parse(&value, Unit::Time).unwrap_err(), expected);
        };
        check(json!({ "uniform": ["2s", "1s"] }), "`uniform` takes the smaller value first");
        check(
            json!({ "unifrom": ["1s", "2s"] }),
            "`unifrom` is not a kind of draw: did you mean `uniform`?",
        );
        check(json!({ "one-of": [] }), "`one-of` takes a list of at least one value");
        check(
            json!({ "lognormal": { "p50": "2s", "p99": "1s" } }),
            "`lognormal` needs 0 < p50 <= p99",
        );
        check(json!(5), "the duration `5` has no unit: write `\"5s\"` or `\"5ms\"`");
        check(json!({}), "a draw has exactly one of `uniform`, `lognormal` and `one-of`");
    }

    proptest! {
        #[test]
        fn samples_stay_within_the_bounds(seed: u64, p50 in 1u64..1 << 40, factor in 1u64..1_000_000) {
            let Some(p99) = p50.checked_mul(factor) else { return Ok(()) };
            let draw = Draw::LogNormal { p50, p99 };
            let value = draw.sample(&mut rng_of(seed, "/x"));
            prop_assert!(draw.smallest() <= value && value <= draw.largest());
        }

        #[test]
        fn a_draw_reads_back_from_its_json(low in 0u64..1 << 40, more in 0u64..1 << 40) {
            let draw = Draw::Uniform { low, high: low + more };
            for unit in [Unit::Count, Unit::Time] {
                prop_assert_eq!(&Draw::parse(&draw.to_json(unit), unit).unwrap(), &draw);
            }
        }
    }
}
