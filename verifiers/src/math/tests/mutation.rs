//! Deterministic fuzzing: random bytes, and mutations of well-formed answers. The cargo-fuzz target calls the same
//! function.

use crate::math::judge::exercise;

/// xorshift64*: small, and the same everywhere.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.next() >> 33).expect("31 bits") % bound
    }
}

const SEEDS: [&str; 24] = [
    r"\frac{1}{2}+\sqrt[3]{x^2+1}",
    r"x \in (-\infty, 1] \cup \{2, 3\} \setminus [4, 5)",
    r"\begin{pmatrix} 1 & 2 \\ 3 & \frac{4}{5} \end{pmatrix}^T",
    r"\begin{vmatrix} a & b \\ c & d \end{vmatrix} = ad - bc",
    r"\sum_{k=1}^{10} \frac{k^2}{k+1} = \int_0^1 x \, dx",
    r"x = 1 \pm \sqrt{2} \text{ or } y = 3\,\text{cm}^2",
    r"|x - 3| \le 2 \quad \text{and} \quad x \ne 3",
    r"{10 \choose 3} C_{10}^{3} {}_{5}C_{2} 5!!",
    r"\log_2 8 + \ln e^{x+y} - \sin^{-1}(1) \cos 30^\circ",
    r"1,234,567.89 \% \approx 12{,}345",
    r"\left\{ x \mid x > 3 \right\} = ]3, \infty[",
    r"0.1\overline{6} = 1\frac{2}{3} : 204_5 : (101)_2",
    r"f(x) = \begin{cases} 1 & x > 0 \\ 2 & x \leq 0 \end{cases}",
    r"\max(1, 2, \gcd(12, 18)) \bmod 7 \pmod{11}",
    r"(p, q) = (3, 2); (5, 7) \mathbb{R} \overline{AB} \vec{v}",
    r"2^{n+1} \cdot 4^{-n} \cdot (1+r)^{2n} e^{i \pi / 3}",
    r"\boxed{1} and \boxed{\text{(B) } 2}",
    r"The answer is: $\frac{3}{4}$ or $5$. I hope it is correct.",
    r"<think>\boxed{3}</think> Final Answer: The final answer is 7 %",
    "√2 × π ≤ ½·x² ∪ ∅ – 3,5€ ∞",
    r"\lfloor 3.7 \rfloor \lceil x \rceil \langle 1, 2 \rangle",
    r"7^{7^{7^{7}}}! \binom{5000}{2500}",
    r"a<b\leq c \ne d \equiv 3",
    r"\frac12 \frac1{2} \frac{1}2 \sqrt2 x_{n-1} y'_1 \theta^{\prime}",
];

const PIECES: [&str; 28] = [
    "\\", "{", "}", "(", ")", "[", "]", "^", "_", "&", "\\\\", "|", "!", "'", ",", ";", ":", "=", "<", "$", "\\left",
    "\\text{", "\\frac", "\\sqrt", " or ", "9", "e", "\u{221e}",
];

fn mutated(random: &mut Random) -> String {
    let mut text: Vec<char> = SEEDS[random.below(SEEDS.len())].chars().collect();
    for _ in 0..=random.below(6) {
        let at = random.below(text.len() + 1);
        match random.below(5) {
            0 => {
                let end = (at + random.below(8)).min(text.len());
                text.drain(at..end);
            }
            1 => {
                let piece = PIECES[random.below(PIECES.len())];
                text.splice(at..at, piece.chars());
            }
            2 => {
                let other: Vec<char> = SEEDS[random.below(SEEDS.len())].chars().collect();
                let from = random.below(other.len());
                let end = (from + random.below(20)).min(other.len());
                text.splice(at..at, other[from..end].iter().copied());
            }
            3 => {
                let end = (at + random.below(12)).min(text.len());
                let copy = text[at..end].to_vec();
                (0..random.below(20)).for_each(|_| drop(text.splice(at..at, copy.iter().copied())));
            }
            _ => {
                if let Some(c) = text.get_mut(at) {
                    *c = char::from_u32(random.below(0x2_600) as u32).unwrap_or('x');
                }
            }
        }
    }
    text.into_iter().collect()
}

#[test]
fn mutated_answers_and_random_bytes_never_panic() {
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    for round in 0..6_000 {
        let text = if round % 4 == 0 {
            let bytes: Vec<u8> = (0..random.below(80)).map(|_| random.next().to_le_bytes()[0]).collect();
            String::from_utf8_lossy(&bytes).into_owned()
        } else {
            format!("{}\n{}", mutated(&mut random), mutated(&mut random))
        };
        exercise(text.as_bytes());
    }
}
