//! Which part of a completion is its final answer, in the strict and the lenient mode.

use data::Status::{Fail, Pass};

use super::{check_completions, verdict_with};
use crate::math::{MathSettings, Mode};

#[test]
fn the_last_box_outside_the_reasoning_counts() {
    check_completions(
        Mode::Strict,
        &[
            ("4", r"<think>\boxed{3}</think> so \boxed{4}", Pass),
            ("3", r"<think>\boxed{3}</think> so 4", Fail),
            ("3", r"<think>\boxed{3}", Fail),
            ("4", r"\boxed{3} maybe</think> \boxed{4}", Pass),
            ("4", r"\boxed{4}<think>\boxed{5}", Pass),
            (r"\frac{1}{2}", r"$$\boxed{\frac{1}{2}}$$", Pass),
            ("4", r"\boxed{4", Fail),
            ("4", r"\boxed{4} then \boxed{5", Fail),
            ("4", r"\boxed{\text{the set } \{4}", Fail),
            ("4", "the answer is 4", Fail),
            ("4", r"\boxed{4} as said, \boxed{4.0}", Pass),
            (r"\boxed{4}", r"\boxed{4}", Pass),
            ("4", r"\boxed{\boxed{4}}", Pass),
        ],
    );
}

#[test]
fn hedged_answers_do_not_pass() {
    check_completions(
        Mode::Strict,
        &[
            ("4", r"\boxed{3} or \boxed{4}", Fail),
            ("4", r"\boxed{4} or \boxed{3}", Fail),
            ("3", r"\boxed{3\text{ or 4 or 5 or 6}}", Fail),
            ("3", r"\boxed{3\text{ or } 4}", Fail),
            ("3", r"\boxed{3, 4}", Fail),
            ("3", r"\boxed{3 \text{ (or 4)}}", Fail),
            ("1", r"\boxed{1}\boxed{2}\boxed{3}\boxed{4}\boxed{5}\boxed{6}\boxed{7}\boxed{8}\boxed{9}\boxed{1}", Fail),
            ("1, 2", r"\boxed{1} and \boxed{2}", Pass),
            ("1, 2", r"\boxed{1}, \boxed{2}, \boxed{3}", Fail),
            ("72", r"\boxed{72}, or maybe 71", Fail),
            ("72", r"$\boxed{72}$ (or $71$)", Fail),
            ("72", r"\boxed{72}. Alternatively, the answer might be $71$.", Fail),
            ("72", "\\boxed{72}\n\n(Other possible answers: 71, 70)", Fail),
            ("B", r"\boxed{B} or C", Fail),
            ("Yes", r"\boxed{\text{Yes}}, or maybe no", Fail),
            // What says the same in another way is no other answer.
            ("72", r"\boxed{72}, or maybe $8 \cdot 9$", Pass),
            ("72", r"$\boxed{72}$ hours, or 3 days", Pass),
            (r"\frac{1}{2}", r"\boxed{\frac12}, or $0.5$.", Pass),
            (r"\sqrt{2}", r"\boxed{\sqrt{2}}, or perhaps 1.41 in decimals", Pass),
            ("50", r"\boxed{50}\%, or $0.5$", Pass),
            ("72", r"It is 71, or 72: \boxed{72}", Pass),
            ("72", r"\boxed{72}. Or, we could note that $3 \cdot 24 = 72$.", Pass),
        ],
    );
    check_completions(
        Mode::Lenient,
        &[
            ("4", "The answer is 3. The answer is 4.", Fail),
            ("4", "The answer is $3$ or $4$.", Fail),
            ("4", "it is 3 or 4", Fail),
            ("4", "it is 3, 4", Fail),
            ("4", "it is 3, or maybe 4", Fail),
            ("4", "it is 4, or maybe 3", Fail),
            ("4", "The answer is 4. Or 3.", Fail),
            ("4", "<answer>3</answer> <answer>4</answer>", Fail),
            ("4", "<answer></answer> <answer>4</answer>", Pass),
            ("72", "The answer is 72, which is less than 100.", Pass),
            ("72", "The answer is 72 since 8*9=72.", Pass),
            ("72", "Answer: 72 (about 72.0)", Pass),
            ("72", "Answer: 72 (or 71)", Fail),
            ("72", "The answer is $72$ because $9 \\cdot 8 = 72$ and $71$ is prime.", Pass),
        ],
    );
    let last = MathSettings { one_final: false, ..MathSettings::default() };
    assert_eq!(verdict_with(last, "4", r"\boxed{3}, no, \boxed{4}").status, Pass);
}

#[test]
fn the_lenient_mode_reads_announcements_and_last_numbers() {
    check_completions(
        Mode::Lenient,
        &[
            ("4", r"the answer is 5, no: \boxed{4}", Pass),
            ("4", "So the answer is 4.", Pass),
            ("4", "**Final answer:** $x = 4$", Pass),
            ("1/2", r"The final answer is $\frac{1}{2}$. I hope it is correct.", Pass),
            ("18", "9 * 2 = <<9*2=18>>18\n#### 18", Pass),
            ("1234", "I count 1,234 of them.", Pass),
            ("-4", "we get x=-4", Pass),
            ("0.5", "that makes 50%", Pass),
            ("99", "it is 2^{-99}", Fail),
            ("4", "no idea", Fail),
        ],
    );
}
