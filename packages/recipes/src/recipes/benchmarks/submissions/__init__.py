"""The files that servers, judges and the authors' own evaluations take."""

from recipes.benchmarks.submissions.answer_list import AnswerList
from recipes.benchmarks.submissions.by_id import AnswersById
from recipes.benchmarks.submissions.for_judges import ForJudges
from recipes.benchmarks.submissions.mmbench import MmbenchTable
from recipes.benchmarks.submissions.mme import MmeFiles

__all__ = ["AnswerList", "AnswersById", "ForJudges", "MmbenchTable", "MmeFiles"]
