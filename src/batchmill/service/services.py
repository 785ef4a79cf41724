"""All use-cases together: what a door opens to."""

from dataclasses import dataclass

from batchmill.service.accounting import Accounting
from batchmill.service.administration import Administration
from batchmill.service.batches import Batches
from batchmill.service.course import Course
from batchmill.service.error_groups import ErrorGroups
from batchmill.service.estimates import Estimates
from batchmill.service.files import Files
from batchmill.service.lines import Lines
from batchmill.service.model_board import ModelBoard
from batchmill.service.models import Models
from batchmill.service.reruns import Reruns
from batchmill.service.results import Results
from batchmill.service.uploads import Uploads
from batchmill.service.webhooks import Webhooks


@dataclass(frozen=True, slots=True)
class Services:
    """The use-cases that a door opens to."""

    files: Files
    uploads: Uploads
    batches: Batches
    results: Results
    lines: Lines
    error_groups: ErrorGroups
    reruns: Reruns
    course: Course
    models: Models
    board: ModelBoard
    admin: Administration
    accounting: Accounting
    estimates: Estimates
    webhooks: Webhooks
