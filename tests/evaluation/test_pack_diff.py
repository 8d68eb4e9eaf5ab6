import json

from moderation_service.contracts.enums import Mode
from moderation_service.contracts.post import Post
from moderation_service.evaluation.pack_diff import Flip, PackDiff, PolicyFlip, Said
from moderation_service.judging.judge import Judge, JudgeResult
from moderation_service.policies.model import Policy, PolicyThresholds
from moderation_service.policies.pack import PolicyPack
from tests.judging.conftest import MakeJudge, ask, engine, make_image, make_judge, pack

__all__ = ["ask", "engine", "make_judge", "pack"]  # fixtures of the judge, used here

POSTS = (
    Post(post_id="sale", text="I sell this", images=(make_image(),)),
    Post(post_id="threat", text="I will kill you, " + "at length " * 20),
    Post(post_id="walk", text="Good morning"),
)


def changed(pack: PolicyPack) -> PolicyPack:
    """Without doxxing, with a policy more, sales blocked later, and the display of weapons in shadow."""

    def edited(policy: Policy) -> Policy:
        match policy.id:
            case "weapon_sale":
                return policy.model_copy(update={"thresholds": PolicyThresholds(review=0.5, block=0.99)})
            case "weapon_display":
                return policy.model_copy(update={"mode": Mode.SHADOW})
            case "doxxing":
                return policy.model_copy(update={"id": "spam"})
        return policy

    return PolicyPack(tuple(edited(Policy.model_validate(one.model_dump())) for one in pack.policies))


async def judged(judge: Judge, post: Post) -> JudgeResult:
    return await judge.judge(post, trace_id="a" * 32)


async def test_a_diff_counts_what_changes_and_names_the_posts_that_flip(
    make_judge: MakeJudge, pack: PolicyPack
) -> None:
    new = changed(pack)
    by_old, by_new = await make_judge(attribution="never"), await make_judge(new, attribution="never")
    diff = PackDiff(pack, new)
    for post in POSTS:
        diff.add(post, await judged(by_old, post), await judged(by_new, post))

    sale = PolicyFlip("weapon_sale", Said("block", 0.95), Said("review", 0.95))
    assert diff.flips == [Flip("sale", 1, "I sell this", 1, "block", "review", (sale,))]
    assert (diff.old.decisions, diff.new.decisions) == (
        {"block": 1, "review": 1, "allow": 1},
        {"review": 2, "allow": 1},
    )
    assert diff.changed() == {("block", "review"): 1}
    told = {name: (one.change, one.old_mode, one.new_mode) for name, one in diff.policies.items()}
    assert told["doxxing"] == ("removed", "enforce", None)
    assert told["spam"] == ("added", None, "enforce")
    assert told["weapon_sale"] == ("changed", "enforce", "enforce")
    assert told["weapon_display"] == ("changed", "enforce", "shadow")
    assert told["violence"] == ("same", "enforce", "enforce")
    counted = diff.policies["weapon_sale"]
    assert (counted.old, counted.new, counted.flips) == ({"block": 1, "allow": 2}, {"review": 1, "allow": 2}, 1)
    # ten tokens a call: the new pack asks once more for each post in whose shadow policies' scope it is
    assert (diff.old.tokens, diff.new.tokens) == (30, 40)

    as_json = json.loads(json.dumps(diff.as_json()))
    assert (as_json["posts"], as_json["decisions"]) == (3, [{"old": "block", "new": "review", "posts": 1}])
    assert [flip["post_id"] for flip in as_json["flips"]] == ["sale"]


async def test_a_policy_that_goes_flips_what_it_flagged_alone_and_words_are_cut(
    make_judge: MakeJudge, pack: PolicyPack
) -> None:
    less = PolicyPack(tuple(policy for policy in pack.policies if policy.id != "violence"))
    by_old, by_new = await make_judge(attribution="never"), await make_judge(less, attribution="never")
    diff = PackDiff(pack, less)
    for post in POSTS:
        diff.add(post, await judged(by_old, post), await judged(by_new, post))
    (flip,) = diff.flips
    assert (flip.post_id, flip.old, flip.new) == ("threat", "review", "allow")
    assert flip.policies == (PolicyFlip("violence", Said("review", 0.7), None),)
    assert (len(flip.text), flip.images) == (120, 0)


async def test_the_words_of_a_flip_show_no_private_number(make_judge: MakeJudge, pack: PolicyPack) -> None:
    old, new = await make_judge(attribution="never"), await make_judge(changed(pack), attribution="never")
    diff = PackDiff(pack, new.pack)
    post = Post(post_id="p", text="I sell this, call 13812345678 or a@b.example", images=(make_image(),))
    diff.add(post, await judged(old, post), await judged(new, post))
    assert [flip.text for flip in diff.flips] == ["I sell this, call [phone] or [e-mail]"]
