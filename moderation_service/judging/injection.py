"""Prompt-injection detection: finds text that instructs the model, and returns the text without it."""

import asyncio
import re

from moderation_service.normalization import MAX_MARKS, nfkc

_READ = 100_000  # characters; more than a model reads, and a bound on the time
_OFF_LOOP = 8192  # characters
_INVISIBLE = re.compile(
    "[\x00-\x08\x0e-\x1f\u00ad\u034f\u061c\u180e\u200b-\u200f\u202a-\u202e\u2060-\u2069\ufe00-\ufe0f\ufeff]"
)
_ROLE = r"(?:\s?(?:system|assistant|user|model|moderator|审核员)\b)?"
_SIGNS = (
    rf"<[|\[(]\s?[a-z_]+\s?[|\])]>{_ROLE}"  # control tokens of chat templates, and as OCR reads them
    r"|\[[a-z]{0,8}mask\]|/(?:no)?think\b"
    r"|<\s?/?\s?(?:post|think|tool_call|system|user|assistant|human|bot|model|instructions?|policy|(?:start|end)_of_turn"
    rf"|系统|用户|助手|政策|帖子)\s?>{_ROLE}"
    r"|<</?sys>>|\[/?(?:inst|system|model|系统)\]|^#{2,}\s*(?:system|assistant|instructions?|response|系统)"
    r"|^[^\S\n]{0,8}(?:system|assistant|developer|moderator)\s*:|['\"]role['\"]\s*:"  # the marks of a role
    r"|\b(?:assistant|a[il]|bot|model|moderator)\s?:\s{0,2}(?:yes|no|safe|allowed|approved|harmless|permitted)\b"
    r"|\b(?:assistant|a[il]|bot|model|moderator|result|verdict)\s(?:yes|no)(?=\s*(?:[.!,;]|$))"  # OCR loses colons
    r"|\bstop (?:checking|moderating)\b(?=\s*(?:[,.!;]|$))|\bno violations?(?: found| here|\s*(?:[.,!;]|$))"
    r"|\bno (?:review|moderation)(?: is)? (?:needed|required|necessary)\b"
    r"|\bmoderation (?:is|was|has been)(?: now)? (?:(?:switched|turned) off|off|disabled|suspended)\b"
    r"|\b(?:everything|all (?:the )?posts|(?:this|the) (?:post|content|message)(?: above| below)?)(?: here)?"
    r" (?:is|are|was|were|has been|have been)(?: already)? (?:allowed|approved|permitted|cleared|verified)\b"
    r"|\b(?:yes|no) is (?:right|correct|the (?:right |correct )?answer)\b"
    r"|\b(?:ignore|disregard|forget|override)\b.{0,30}"
    r"\b(?:previous|above|prior|earlier|preceding|system|your)\b.{0,20}"
    r"\b(?:instructions?|prompts?|rules|polic(?:y|ies)|guidelines)\b"
    r"|\b(?:ignore|disregard|forget|override|skip)\b.{0,20}"
    r"\b(?:instructions?|prompts?|rules|polic(?:y|ies)|guidelines|everything)\b.{0,9}\b(?:above|before|this time)\b"
    r"|\byour (?:new|real|actual) (?:instructions?|task|rules?)\b|\b(?:system|hidden) prompt\b"
    r"|\b(?:answer|respond|reply|say|output)\b.{0,20}[\"“'‘](?:yes|no)[\"”'’]"
    r"|\b(?:answer|respond|reply)(?: only)?(?: with)?(?: the word)? (?:yes|no)\b"
    r"|\b(?:say|write|output) (?:yes|no)(?=\s*(?:[.!,;]|$|violation)| to .{0,12}(?:questions?|polic|below|above))"
    r"|\b(?:answer.{0,20}|verdict|result) (?:is|:) (?:yes|no)(?=\s*(?:[.!,;]|$))|\b(?:question|post) answered\b"
    r"|\b(?:mark|label|classify|rate|treat) (?:this (?:post|text|message|content|image)|it) "
    r"as (?:safe|allowed|harmless|benign|no)\b|\b(?:do not|don't) (?:flag|moderate) (?:this|it|me)\b"
    r"|(?:忽略|无视|忘记|忘掉|忽视|不要理会).{0,8}(?:以上|之前|前面|上述|先前|系统|所有|你的).{0,8}"
    r"(?:指令|规则|提示|政策|要求|说明|内容)"
    r"|(?:系统|隐藏)提示词?[:：]?|你的新(?:指令|任务|规则)|(?:不要|停止|免|跳过)(?:审核|标记这|规则)|跳过这条"
    r"|(?:只|直接|必须|请)?(?:回答|回复|输出)[“\"「'‘]?(?:是|否)(?:[”\"」'’]|[。，！,.!]|$)"
    r"|(?:都|[，,]|请|直接|只)(?:说|答|写|标|回复一个字)[:：]?[“\"「'‘]?(?:是|否)(?:[”\"」'’]|[。，！,.!]|$)"
    r"|(?:答案|结论|结果|问题已答)都?[:：是]\s?[:：]?[“\"「'‘]?(?:是|否)(?:[”\"」'’]|[。，！,.!]|$)"
    r"|(?:将|把)?(?:本|此|这条|该)(?:帖|帖子|内容).{0,6}(?:判为|标为|视为|标记为)(?:安全|合规|允许|无害)"
    r"|^[^\S\n]{0,8}(?:系统|助手|助理|审核员)[:：]"
    r"|(?:助手|助理|人工智能|审核员|模型)[:：]\s?(?:是|否|不违规|未发现|没有违规|合规|允许)"
    r"|停止(?:检查|审查)(?:[，。！,.!]|$)|可信.{0,6}免审(?!批)|审核已经?关闭|(?:[:：]|说)(?:未发现|没有)违规"
    r"|(?:本帖|此帖|什么|全部|一切)都?(?:已通过|已核实|允许)"
)
ORDERS = re.compile(_SIGNS.replace(" ", " ?"), re.IGNORECASE | re.MULTILINE)  # OCR and people leave spaces out
"""Made from the injections that the bundled model is trained on, never from those that it is measured with."""

_WORDS = (
    *("<", "[", "think", "##", "system", "assistant", "developer", "moderat", "role", "ignore", "disregard", "forget"),
    *("override", "skip", "yournew", "yourreal", "youractual", "prompt", "answer", "respond", "reply", "say", "output"),
    *("writeyes", "writeno", "verdict", "result", "stopchecking", "noreview", "violation", "don'tflag", "donotflag"),
    *(f"{verb}{what}" for verb in ("mark", "label", "classify", "rate", "treat") for what in ("this", "it")),
    *("yesis", "nois", "allowed", "approved", "permitted", "cleared", "verified", "model", "bot:", "botno", "botyes"),
    *("ai:", "al:", "aino", "alno", "aiyes", "alyes", "忽略", "无视", "忘", "忽视", "不要", "提示", "你的新", "回答"),
    *("回复", "输出", "判为", "标", "视为", "系统", "助手", "助理", "模型", "人工智能", "审核", "审查", "检查", "免审"),
    *("违规", "允许", "已通过", "已核实", "答", "说", "写", "结论", "结果", "规则", "这条"),
)
"""Every match holds one of these but for white space; looking for them first takes a twentieth of the time."""

_SENTENCE = re.compile(r"[^.!?;\n。！？；]*[.!?;\n。！？；]*")

RULES = (ORDERS.pattern, _INVISIBLE.pattern, _SENTENCE.pattern, _WORDS, _READ, MAX_MARKS, "sentences and spans")
"""All that decides which text is removed: part of the prompt digest."""


def is_suspected(text: str) -> bool:
    """Whether text looks meant for the model: a control token, a role marker, an instruction to judge otherwise."""
    plain = _plain(text)
    folded = plain.lower().replace("i\u0307", "i").replace("\u0131", "i")  # as the orders' own IGNORECASE
    together = "".join(folded.split())
    return any(map(together.__contains__, _WORDS)) and ORDERS.search(plain) is not None


def without_injections(text: str) -> tuple[str, ...]:
    """The text without suspected sentences, and without the suspected words alone; () where none are suspected."""
    if not is_suspected(text):
        return ()
    apart = "".join(part for part in _SENTENCE.findall(text[:_READ]) if not is_suspected(part)).strip()
    cut = " ".join(ORDERS.sub("\n", _plain(text)).split())
    return tuple(dict.fromkeys((apart, cut)))


async def without_injections_in_thread(text: str) -> tuple[str, ...]:
    """The same; a long text is read on a thread."""
    return without_injections(text) if len(text) <= _OFF_LOOP else await asyncio.to_thread(without_injections, text)


def _plain(text: str) -> str:
    return nfkc(_INVISIBLE.sub("", text[:_READ]), _READ)
