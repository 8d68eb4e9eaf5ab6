"""Whether a post speaks to the model rather than to people: a hint for reviewers, which decides nothing."""

import re
import unicodedata

_READ = 100_000  # characters; more than a model reads, and a bound on the time
_INVISIBLE = re.compile(
    "[\x00-\x08\x0e-\x1f\u00ad\u034f\u061c\u180e\u200b-\u200f\u202a-\u202e\u2060-\u2069\ufe00-\ufe0f\ufeff]"
)
_SIGNS = re.compile(
    r"<\|\s?[a-z_]+\s?\|>|\[[a-z]{0,8}mask\]|/(?:no)?think\b"  # control tokens of chat templates
    r"|</?(?:post|think|tool_call|system|user|assistant|instructions?)>"
    r"|<</?sys>>|\[/?inst\]|^#{2,}\s*(?:system|instructions?|response)\b"
    r"|^[ \t]{0,8}(?:system|assistant|developer)\s*:"  # the marks of a role
    r"|\b(?:ignore|disregard|forget|override)\b.{0,30}"
    r"\b(?:previous|above|prior|earlier|preceding|system|your)\b.{0,20}"
    r"\b(?:instructions?|prompts?|rules|polic(?:y|ies)|guidelines)\b"
    r"|\byour (?:new|real|actual) (?:instructions?|task|rules?)\b|\b(?:system|hidden) prompt\b"
    r"|\b(?:answer|respond|reply|say|output)\b.{0,20}[\"“'‘](?:yes|no)[\"”'’]"
    r"|\b(?:answer|respond|reply)(?: only)?(?: with)? (?:yes|no)\b"
    r"|\b(?:mark|label|classify|rate|treat) this (?:post|text|message|content|image)"
    r" as (?:safe|allowed|harmless|benign)\b"
    r"|(?:忽略|无视|忘记|忽视|不要理会).{0,8}(?:以上|之前|前面|上述|先前|系统|所有).{0,8}(?:指令|规则|提示|政策|要求|说明)"
    r"|(?:系统|隐藏)提示词?[:：]?|你的新(?:指令|任务|规则)"
    r"|(?:只|直接|必须|请)?(?:回答|回复|输出)[“\"「'‘]?(?:是|否)(?:[”\"」'’]|[。，！,.!]|$)"
    r"|(?:将|把)?(?:本|此|这条|该)(?:帖|帖子|内容).{0,6}(?:判为|标为|视为|标记为)(?:安全|合规|允许|无害)"
    r"|^[ \t]{0,8}(?:系统|助手)[:：]",
    re.IGNORECASE | re.MULTILINE,
)


_WORDS = (
    *("<", "[", "think", "##", "system", "assistant", "developer", "ignore", "disregard", "forget", "override"),
    *("your ", "prompt", "answer", "respond", "reply", "say", "output", " this ", "忽略", "无视", "忘记", "忽视"),
    *("不要理会", "提示", "你的新", "回答", "回复", "输出", "判为", "标为", "视为", "标记为", "系统", "助手"),
)
"""Every sign holds one of these, which is told in a twentieth of the time."""


def suspected(text: str) -> bool:
    """Whether words look meant for the model: a control token, the mark of a role, an order to judge otherwise."""
    plain = unicodedata.normalize("NFKC", _INVISIBLE.sub("", text[:_READ]))
    folded = plain.lower().replace("i\u0307", "i").replace("\u0131", "i")  # as the signs' own IGNORECASE
    return any(map(folded.__contains__, _WORDS)) and _SIGNS.search(plain) is not None
