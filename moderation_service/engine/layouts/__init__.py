"""Layouts by name. A further one is a file here, an entry below, and its name in `settings.LayoutName`."""

from moderation_service.engine.layouts.policies_first import PoliciesFirst
from moderation_service.engine.layouts.post_first import PostFirst
from moderation_service.engine.prompts import Layout
from moderation_service.settings import LayoutName

LAYOUTS: dict[LayoutName, Layout] = {layout.name: layout for layout in (PostFirst(), PoliciesFirst())}
