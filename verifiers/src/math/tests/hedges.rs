//! What stands around a final answer: other answers, words that take it back, and text that does neither.

use data::Status;

use super::verdict_with;
use crate::math::{MathSettings, Mode};

const EVERY: [Mode; 3] = [Mode::Strict, Mode::Lenient, Mode::MathVerify];

const SEARCHING: [Mode; 2] = [Mode::Lenient, Mode::MathVerify];

/// Checks in each mode whether gold and completion pass.
fn check(modes: &[Mode], passes: bool, table: &[(&str, &str)]) {
    let mut wrong = Vec::new();
    for (gold, completion) in table {
        for mode in modes {
            let settings = MathSettings { mode: *mode, ..MathSettings::default() };
            let verdict = verdict_with(settings, gold, completion);
            if (verdict.status == Status::Pass) != passes {
                wrong.push(format!("{mode:?}: {gold} | {completion}: {:?} ({})", verdict.status, verdict.reason));
            }
        }
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

fn pass(modes: &[Mode], table: &[(&str, &str)]) {
    check(modes, true, table);
}

fn fail(modes: &[Mode], table: &[(&str, &str)]) {
    check(modes, false, table);
}

#[test]
fn another_answer_beside_a_box_does_not_pass() {
    fail(
        &EVERY,
        &[
            ("3", r"\boxed{3}. So the answer is 7."),
            ("3", r"\boxed{3}. Final answer: 7"),
            ("3", "$\\boxed{3}$\n\n#### 7"),
            ("3", "\\boxed{3}\nThe answer is $7$."),
            ("3", r"\boxed{3}. Let me recheck the sum. The answer is 8."),
            ("4", r"\boxed{4}. Wait, it should be 5."),
            ("4", r"\boxed{4}. Sorry, I meant 5."),
            ("4", r"\boxed{4} -- oops, 5"),
            ("4", r"\boxed{4} (correction: 5)"),
            ("4", r"\boxed{4}. Actually, 5."),
            ("4", r"\boxed{4}. No, wait: $5$."),
            ("4", r"\boxed{4}. Hmm, maybe 5?"),
            ("4", r"\boxed{4} is incorrect."),
            ("4", r"\boxed{4}. That is wrong."),
            ("4", r"\boxed{4}? No."),
            ("4", r"\boxed{4}. This is not the answer."),
            ("4", r"\boxed{4}, which is wrong; it is 5"),
            ("4", r"$\boxed{4}$ isn't right."),
            ("4", r"It is not \boxed{4}"),
            ("4", r"The answer cannot be \boxed{4}."),
            ("4", r"the result isn't $\boxed{4}$"),
            ("4", r"\boxed{4}. The answer is not 4."),
            ("4", r"\boxed{4} or six"),
            ("4", r"\boxed{4}, maybe twelve"),
            ("21", r"\boxed{21} or twenty-two"),
            ("4", r"3 or \boxed{4}"),
            ("4", r"Either $3$ or \boxed{4}"),
            ("4", r"It is 5, or maybe \boxed{4}"),
            ("4", r"The answer is 7. \boxed{4}"),
            ("4", r"<answer>7</answer> \boxed{4}"),
            ("7", r"\boxed{4} <answer>7</answer>"),
            ("4", r"\boxed{4}<answer>7</answer>"),
            ("B", r"\boxed{B}. The answer is C."),
            ("Yes", r"\boxed{\text{Yes}}. The answer is no."),
            ("Friday", r"\boxed{\text{Friday}} or Saturday"),
            ("x+1", r"\boxed{x+1} or x+2"),
            ("5", r"\boxed{5} or x=6"),
            ("4", r"\boxed{4} vs. 5?"),
            ("4", r"\boxed{4} / maybe 5"),
            ("12", r"\boxed{12}. On second thought, 13."),
            ("12", r"\boxed{12}. Scratch that, 13."),
            ("12", r"\boxed{12}. Make that 13."),
            ("12", r"\boxed{12}. Edit: 13"),
            ("12", r"\boxed{12}. Update: the answer should be 13."),
            ("36", r"\boxed{36}. The correct answer is 35."),
        ],
    );
}

#[test]
fn text_around_a_box_that_agrees_with_it_passes() {
    pass(
        &EVERY,
        &[
            ("5", r"\boxed{5}, not 4 as one may think."),
            ("4", r"\boxed{4}, so 2+2=4 as required."),
            ("4", r"\boxed{4}. Check: $2+2=4$."),
            ("4", r"\boxed{4}. The answer is four."),
            ("4", r"\boxed{4}. The answer is 4."),
            ("4", r"\boxed{4}. So the answer is 4 apples."),
            ("4", r"\boxed{4}. Final answer: 4"),
            ("4", "\\boxed{4}\n\n#### 4"),
            ("4", r"\boxed{4}, i.e. four"),
            ("4", r"\boxed{4} or four"),
            ("4", r"\boxed{4} is the answer."),
            ("4", r"\boxed{4} is correct."),
            ("4", r"\boxed{4}. It is not 5."),
            ("4", r"\boxed{4}. No other value works."),
            ("4", r"\boxed{4}. 5 is not correct."),
            ("4", r"\boxed{4}. The value 5 would be wrong."),
            ("4", r"\boxed{4}. If n were odd, the answer is 5."),
            ("4", r"\boxed{4}. Many students think the answer is 5."),
            ("4", r"\boxed{4}. For part (b) the answer is 9."),
            ("4", r"\boxed{4}. Please tell me if this is wrong."),
            ("4", r"\boxed{4}. I was wrong before."),
            ("4", r"\boxed{4}. It would be wrong to say 5."),
            ("4", r"\boxed{4} units"),
            ("4", r"\boxed{4} hours, not minutes"),
            ("4", r"\boxed{4} hours (240 minutes)"),
            ("4", r"\boxed{4} hours, or 240 minutes"),
            ("50", r"\boxed{50}\% or one half"),
            ("0.5", r"\boxed{0.5}. The answer is one half."),
            ("1/2", r"\boxed{\frac12}. The answer is 0.5."),
            ("2,3", r"\boxed{2, 3}. The answers are 2 and 3."),
            ("2,3", r"\boxed{2, 3}. The answer is 2 and 3."),
            ("(1,2)", r"\boxed{(1,2)}. The answer is x=1 and y=2."),
            ("12", r"\boxed{12}. The answer is B."),
            ("7", r"\boxed{7}. The answer is 3+4=7."),
            ("7", r"\boxed{7}. The answer is 3 + 4 = 7."),
            ("7", r"\boxed{7}. The answer is positive."),
            ("7", r"\boxed{7}. The answer is 2 more than 5."),
            ("7", r"\boxed{7}. The answer is 3 less than 10."),
            ("7", r"\boxed{7}. The answer is 100% certain."),
            ("7", r"The answer is 7. \boxed{7}"),
            ("7", r"My first guess was 5 or 6. The answer is \boxed{7}"),
            ("7", r"If x is not negative, \boxed{7}"),
            ("7", r"It is not hard to see that the answer is \boxed{7}"),
            ("7", r"It's 5 or 7. But it must be odd and prime and large, so \boxed{7}"),
            ("7", r"x=5 or x=7, and since x>6 we get \boxed{7}"),
            ("7", r"The answer is 5? No, I forgot 2: \boxed{7}"),
            ("2", r"$x$ cannot be \boxed{2}"),
            ("B", r"\boxed{B} is false."),
            ("B", r"\boxed{B} is incorrect."),
            ("Friday", r"\boxed{\text{Friday}}. So it is not Monday."),
            ("Friday", r"\boxed{\text{Friday}} or later"),
            ("72", r"\boxed{72}. No 71 here"),
            ("72", r"\boxed{72}. No, 71 does not work."),
            ("72", r"\boxed{72}. Actually 72 is 8*9."),
            ("72", r"\boxed{72}. Wait, 72 = 8*9. Yes."),
            ("72", r"\boxed{72}. Actually, 3 numbers divide it."),
            ("72", r"\boxed{72}; should 71 be asked for, subtract one"),
            ("72", r"\boxed{72}. It should be noted that 71 is prime."),
            ("72", r"\boxed{72} (rounded to 2 digits)"),
            ("72", r"\boxed{72}. I mean seventy-two."),
            ("72", r"\boxed{72} rather than 71"),
            ("72", r"\boxed{72} instead of 71."),
            ("72", r"<answer>\boxed{72}</answer>"),
            ("72", r"\boxed{72} <answer>72</answer>"),
            ("72", r"\boxed{72} <answer>see above</answer>"),
            ("72", r"8*9 or \boxed{72}"),
            ("120", r"2 hours or \boxed{120} minutes"),
            ("36", r"\boxed{36}. Therefore the correct answer is 36."),
            (r"\frac{3}{4}", r"\boxed{\frac{3}{4}}, or 75%."),
            (r"\frac{3}{4}", r"\boxed{\frac{3}{4}} = 0.75"),
            (r"\frac{3}{4}", r"\boxed{\frac{3}{4}}. Answer: 3/4"),
            ("1000", r"\boxed{1000}. The answer is 1,000."),
            ("1000", r"\boxed{1000}. The answer is \$1,000."),
            ("3.14", r"\boxed{3.14} or $\pi$ approximately"),
            ("5", r"\boxed{5}. The answer is $x = 5$."),
            ("5", r"\boxed{5}. The answer is $2+3$."),
            ("5", "\\boxed{5}\n\nNote: The answer is 5 since 2+3=5, not 6."),
            ("16", r"\boxed{16} or $2^4$"),
            ("5", r"The remainder must be 5. \boxed{5}"),
            ("5", r"Is it 4? No. It is \boxed{5}"),
            ("5", r"The answer is 4 more than 1, so \boxed{5}"),
        ],
    );
}

#[test]
fn another_answer_beside_an_announced_one_does_not_pass() {
    fail(
        &SEARCHING,
        &[
            ("4", "The answer is 4. No: 5."),
            ("4", "The answer is 4. Wait, 5."),
            ("4", "The answer is 4 or five."),
            ("4", "The answer is 4? No."),
            ("4", "The answer is 4, which is wrong."),
            ("72", "<answer>72</answer> or maybe 71"),
            ("4", "The answer is not 4."),
            ("10", "Final Answer: 9. The final answer is $10$. I hope it is correct."),
        ],
    );
}

#[test]
fn announcements_that_agree_pass() {
    pass(
        &SEARCHING,
        &[
            ("10", "Final Answer: The final answer is $10$. I hope it is correct."),
            ("10", "**Final Answer:** The answer is 10."),
            ("10", "Answer: The final answer is: $10$"),
            ("10", "Answer: 10. The answer is 10."),
            ("10", r"Final Answer: The final answer is $\boxed{10}$. I hope it is correct."),
            ("x+1", "Final Answer: The final answer is $x+1$. I hope it is correct."),
            ("5", "The answer is 5, not 4."),
            ("5", "The answer is 5. No other value works."),
            ("5", "The answer is 5. It's not 4."),
        ],
    );
}

#[test]
fn the_last_answer_counts_where_one_is_not_asked_for() {
    for mode in EVERY {
        let settings = MathSettings { mode, one_final: false, ..MathSettings::default() };
        assert_eq!(
            verdict_with(settings, "4", r"\boxed{4} is wrong, the answer is 5").status,
            Status::Pass,
            "{mode:?}"
        );
    }
}
