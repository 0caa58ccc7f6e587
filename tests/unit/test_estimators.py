"""The walk over fitted estimators: what it finds inside real models, and of the model's columns in front of each."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any

import lightgbm
import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm
import torch
import xgboost
from sklearn.base import BaseEstimator, ClassifierMixin, TransformerMixin
from sklearn.calibration import CalibratedClassifierCV
from sklearn.compose import ColumnTransformer, TransformedTargetRegressor, make_column_selector, make_column_transformer
from sklearn.ensemble import (
    BaggingClassifier,
    GradientBoostingClassifier,
    RandomForestClassifier,
    StackingClassifier,
    VotingClassifier,
)
from sklearn.feature_extraction.text import CountVectorizer, HashingVectorizer, TfidfTransformer, TfidfVectorizer
from sklearn.feature_selection import RFE
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LinearRegression, LogisticRegression, Ridge
from sklearn.model_selection import GridSearchCV
from sklearn.multiclass import OneVsRestClassifier
from sklearn.multioutput import ClassifierChain
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import Pipeline, make_pipeline, make_union
from sklearn.preprocessing import FunctionTransformer, OneHotEncoder, OrdinalEncoder, StandardScaler
from sklearn.svm import SVC
from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor

from spark_scoring.model.categories import own_levels
from spark_scoring.model.estimator_kinds import attribute
from spark_scoring.model.estimators import (
    Seen,
    final_estimator,
    own_feature_names,
    takes_documents,
    use_one_thread,
    walk,
)
from tests.meta import META_ESTIMATORS, fitted, takes_transformers

if TYPE_CHECKING:
    from collections.abc import Callable

ROWS = 80
RNG = np.random.default_rng(0)
NAMES = ["num", "city", "kind"]
TEXTS = pd.DataFrame(
    {
        "num": RNG.normal(size=ROWS),
        "city": RNG.choice(["Bath", "Cork", "Graz"], ROWS),
        "kind": RNG.choice(["new", "old"], ROWS),
    }
).astype({"city": object, "kind": object})
LEVELS = ["Graz", "Cork", "Bath"]
CATEGORIES = TEXTS[["num", "city"]].assign(city=pd.Categorical(TEXTS["city"], categories=LEVELS))
LABEL = ((TEXTS["city"] == "Graz") ^ (TEXTS["num"] > 0)).astype(int).to_numpy()


def lgbm() -> Any:
    return lightgbm.LGBMClassifier(n_estimators=2, num_leaves=3, verbose=-1, min_child_samples=5, n_jobs=1)


def one_hot() -> Any:
    return OneHotEncoder(handle_unknown="ignore")


def inside(model: Any, kind: type, names: list[str] | None = None) -> Seen:
    """The only estimator of this class inside."""
    (found,) = [seen for seen in walk(model, names or NAMES) if isinstance(seen.estimator, kind)]
    return found


def columns(model: Any, kind: type = OneHotEncoder, names: list[str] | None = None) -> list[str | None]:
    return [column and column.name for column in inside(model, kind, names).columns]


@pytest.mark.parametrize(
    "selected",
    [
        ["city"],
        [1],
        [-2],
        slice(1, 2),
        slice("city", "city"),
        [False, True, False],
        np.array([False, True, False]),
        make_column_selector(pattern="^ci"),
        lambda frame: [list(frame.columns).index("city")],
    ],
    ids=["name", "position", "negative", "slice", "slice of names", "mask", "array mask", "selector", "function"],
)
def test_a_column_transformer_chooses_by_name_position_slice_mask_or_function(selected: Any) -> None:
    model = make_pipeline(ColumnTransformer([("text", one_hot(), selected)]), LogisticRegression())
    assert columns(model.fit(TEXTS, LABEL)) == ["city"]


@pytest.mark.parametrize("selected", [[1], [-2], slice(1, 2), [False, True, False]])
def test_positions_of_a_model_on_a_matrix_are_those_of_the_signatures_inputs(selected: Any) -> None:
    model = make_pipeline(ColumnTransformer([("text", one_hot(), selected)]), LogisticRegression())
    assert columns(model.fit(TEXTS.to_numpy(), LABEL)) == ["city"]


def test_the_remainder_of_a_column_transformer_sees_the_columns_that_are_left() -> None:
    first = ColumnTransformer([("number", StandardScaler(), ["num"])], remainder=one_hot())
    assert columns(make_pipeline(first, LogisticRegression()).fit(TEXTS, LABEL)) == ["city", "kind"]


def test_steps_that_do_nothing_leave_columns_and_input_as_they_are() -> None:
    inner = Pipeline([("none", None), ("passed", "passthrough"), ("as is", FunctionTransformer()), ("text", one_hot())])
    model = make_pipeline(Pipeline([("inner", inner)]), LogisticRegression()).fit(TEXTS[["city", "kind"]], LABEL)
    found = inside(model, OneHotEncoder, ["city", "kind"])
    assert [column and (column.name, column.sure) for column in found.columns] == [("city", True), ("kind", True)]
    assert found.is_whole


def test_columns_behind_an_imputer_are_sure_and_filled_and_an_empty_one_is_gone() -> None:
    frame = pd.DataFrame({"city": TEXTS["city"], "empty": np.nan, "kind": TEXTS["kind"]}).astype(object)
    frame.loc[3, "kind"] = np.nan
    imputer = SimpleImputer(strategy="most_frequent", add_indicator=True)
    found = inside(make_pipeline(imputer, one_hot()).fit(frame), OneHotEncoder, list(frame))
    assert [column and (column.name, column.imputed, column.sure) for column in found.columns] == [
        ("city", True, True),
        ("kind", True, True),
        None,
        None,
    ]


@pytest.mark.parametrize("verbose", [True, False])
def test_columns_that_a_column_transformer_passes_on_are_known_behind_it(*, verbose: bool) -> None:
    first = make_column_transformer(
        (StandardScaler(), ["num"]), remainder="passthrough", verbose_feature_names_out=verbose
    ).set_output(transform="pandas")
    model = make_pipeline(first, lgbm()).fit(CATEGORIES, LABEL)
    assert columns(model, lightgbm.LGBMClassifier, ["num", "city"]) == [None, "city"]


def test_columns_that_a_union_passes_on_are_known_by_name() -> None:
    first = make_union(FunctionTransformer(lambda frame: frame[["num"]] * 2), FunctionTransformer())
    model = make_pipeline(first.set_output(transform="pandas"), lgbm()).fit(CATEGORIES, LABEL)
    assert columns(model, lightgbm.LGBMClassifier, ["num", "city"]) == ["num", "num", "city"]


def test_what_encoders_make_is_not_a_column_of_the_model() -> None:
    model = make_pipeline(OrdinalEncoder(), StandardScaler(), LogisticRegression()).fit(TEXTS[["city"]], LABEL)
    assert columns(model, StandardScaler, ["city"]) == [None]


def test_columns_behind_a_function_are_theirs_by_name_or_number_and_not_sure() -> None:
    text = TEXTS[["city"]]
    for function in (lambda frame: frame.copy(), lambda frame: frame.to_numpy()):
        model = make_pipeline(FunctionTransformer(function), one_hot(), LogisticRegression())
        (column,) = inside(model.fit(text, LABEL), OneHotEncoder, ["city"]).columns
        assert column is not None
        assert (column.name, column.sure) == ("city", False)


def test_columns_that_a_function_has_picked_into_a_matrix_are_among_those_that_it_had() -> None:
    picks = FunctionTransformer(lambda frame: frame[["kind"]].to_numpy())
    found = inside(make_pipeline(picks, one_hot(), LogisticRegression()).fit(TEXTS, LABEL), OneHotEncoder)
    assert (found.columns, found.among) == ((None,), ("num", "city", "kind"))


def test_as_many_columns_of_other_names_behind_a_foreign_step_are_others() -> None:
    class Renames(TransformerMixin, BaseEstimator):  # type: ignore[misc]
        def fit(self, X: Any, y: Any = None) -> Renames:
            return self

        def transform(self, X: Any) -> Any:
            return pd.DataFrame({"a": X["city"], "b": X["num"], "c": X["kind"]})

    model = make_pipeline(Renames(), ColumnTransformer([("text", one_hot(), ["a"])]), LogisticRegression())
    assert columns(model.fit(TEXTS, LABEL)) == [None]


def test_a_bagging_gives_each_estimator_the_columns_that_it_drew() -> None:
    model = BaggingClassifier(make_pipeline(one_hot(), LogisticRegression()), 3, max_features=2, random_state=0)
    model.fit(TEXTS[["city", "kind", "city"]].set_axis(NAMES, axis=1), LABEL)
    drawn = [[c and c.name for c in s.columns] for s in walk(model, NAMES) if isinstance(s.estimator, OneHotEncoder)]
    assert drawn == [[NAMES[i] for i in places] for places in model.estimators_features_]


def test_a_selection_gives_its_estimator_the_columns_that_it_kept() -> None:
    numbers = pd.DataFrame(RNG.normal(size=(ROWS, 3)), columns=NAMES).assign(kind=LABEL)
    model = RFE(LogisticRegression(), n_features_to_select=1).fit(numbers, LABEL)
    assert columns(model, LogisticRegression) == ["kind"]


def test_results_of_a_chains_earlier_links_come_behind_the_input() -> None:
    numbers = RNG.integers(0, 3, (ROWS, 2))
    model = ClassifierChain(KNeighborsClassifier()).fit(numbers, np.c_[LABEL, 1 - LABEL])
    links = [seen for seen in walk(model, ["a", "b"]) if isinstance(seen.estimator, KNeighborsClassifier)]
    assert [[c and c.name for c in link.columns] for link in links] == [["a", "b"], ["a", "b", None]]


@pytest.mark.parametrize(("passthrough", "expected"), [(False, [None]), (True, [None, *NAMES])])
def test_a_stackings_final_estimator_sees_predictions_and_the_input_where_it_is_passed(
    *, passthrough: bool, expected: list[str | None]
) -> None:
    text = make_pipeline(ColumnTransformer([("text", one_hot(), ["city"])]), LogisticRegression())
    final = make_pipeline(ColumnTransformer([("text", one_hot(), [-1])]), KNeighborsClassifier())
    model = StackingClassifier([("text", text)], final_estimator=final, passthrough=passthrough, cv=2).fit(TEXTS, LABEL)
    assert columns(model.final_estimator_, ColumnTransformer) == [None] * len(expected)
    (seen,) = [s for s in walk(model, NAMES) if s.estimator is model.final_estimator_[0]]
    assert [column and column.name for column in seen.columns] == expected


def test_templates_that_were_fitted_on_something_else_before_are_not_read() -> None:
    template = lgbm().fit(CATEGORIES.rename(columns={"city": "town"}), LABEL)
    for model in (CalibratedClassifierCV(template, cv=2), GridSearchCV(template, {}, cv=2)):
        fitted = [s.estimator for s in walk(model.fit(CATEGORIES, LABEL), NAMES) if library_is_lightgbm(s)]
        assert template not in fitted
        assert fitted


def library_is_lightgbm(seen: Seen) -> bool:
    return isinstance(seen.estimator, lightgbm.LGBMModel)


def test_a_transformer_of_the_target_does_not_see_the_columns() -> None:
    model = TransformedTargetRegressor(LinearRegression(), transformer=StandardScaler()).fit(TEXTS[["num"]], LABEL)
    assert columns(model, StandardScaler, ["num"]) == [None]


# Estimators that are not by the rules.


class Foreign(ClassifierMixin, BaseEstimator):  # type: ignore[misc]
    """Fits its parameter in place, does not keep an argument, and has properties that raise."""

    def __init__(self, model: Any, factor: float = 2.0) -> None:
        self.model = model
        self.f = factor

    def fit(self, X: Any, y: Any) -> Foreign:
        self.model.fit(X, y)
        return self

    def predict(self, X: Any) -> Any:
        return self.model.predict(X)

    @property
    def n_features_in_(self) -> int:
        raise RuntimeError

    @property
    def feature_names_in_(self) -> Any:
        raise OddError

    @property
    def n_jobs(self) -> int:
        raise OSError


class OddError(Exception):
    """Of nobody's hierarchy."""


def test_what_a_foreign_estimator_fits_in_place_is_found_and_not_sure() -> None:
    model = Foreign(make_pipeline(one_hot(), LogisticRegression())).fit(TEXTS[["city"]], LABEL)
    found = inside(model, OneHotEncoder, ["city"])
    assert [(c.name, c.sure) for c in found.columns if c is not None] == [("city", False)]
    assert not found.is_whole


def test_properties_that_raise_are_attributes_that_are_not_there() -> None:
    model = Foreign(lgbm()).fit(CATEGORIES, LABEL)
    assert attribute(model, "feature_names_in_", "none") == "none"
    assert own_feature_names(model, ["num", "city"]) == ()
    use_one_thread(model)


def test_cycles_are_cut() -> None:
    model = Foreign(lgbm()).fit(CATEGORIES, LABEL)
    model.itself, model.pair = model, [("again", model), ("pipe", Pipeline([("again", model), ("last", model)]))]
    pipeline = Pipeline([("a", StandardScaler())])
    pipeline.steps += [("b", pipeline), ("c", pipeline)]
    assert len(list(walk(model, NAMES))) < 10
    assert len(list(walk(pipeline, NAMES))) < 10


class Slots:
    """A plain object without a dict."""

    __slots__ = ("model",)

    def __getattr__(self, name: str) -> Any:
        raise ZeroDivisionError


@pytest.mark.parametrize(
    "make",
    [
        lambda: None,
        lambda: 1,
        lambda: "text",
        Slots,
        object,
        LogisticRegression,
        lambda: LogisticRegression,  # the class
        lgbm,
        xgboost.XGBClassifier,
        lambda: GridSearchCV(lgbm(), {}),
        lambda: Pipeline([]),
        lambda: Pipeline("steps"),
        lambda: ColumnTransformer("transformers"),
        lambda: lgbm().fit(CATEGORIES, LABEL).booster_,
        lambda: xgboost.train({}, xgboost.DMatrix(CATEGORIES[["num"]], LABEL), 1),
        lambda: sm.OLS(LABEL, CATEGORIES[["num"]]).fit(),
        lambda: torch.nn.Sequential(torch.nn.Linear(1, 1), torch.nn.ReLU()),
        lambda: CATEGORIES,
        lambda: {"model": lgbm()},
    ],
)
def test_any_object_can_be_walked(make: Callable[[], Any]) -> None:
    thing = make()
    assert next(iter(walk(thing, NAMES))).estimator is thing
    own_feature_names(thing, NAMES)
    own_levels(thing, NAMES, {})
    final_estimator(thing)
    use_one_thread(thing)
    assert takes_documents(thing) is False


@pytest.mark.parametrize("model", [RandomForestClassifier(1000, max_depth=1), GradientBoostingClassifier(max_depth=1)])
def test_the_trees_of_a_forest_are_not_walked_one_by_one(model: Any) -> None:
    model.fit(TEXTS[["num"]], LABEL)
    assert len(list(walk(model, ["num"]))) < 5
    durations = []
    for _ in range(5):
        start = time.perf_counter()
        own_levels(model, ["num"], {})
        durations.append(time.perf_counter() - start)
    assert min(durations) < 0.02


# Names, documents, the final estimator.


def test_names_are_those_of_the_estimators_that_get_the_whole_input() -> None:
    spaced = CATEGORIES.rename(columns={"city": "home city"})
    by_number = CATEGORIES.rename(columns={"num": 0, "city": 1})
    assert own_feature_names(GridSearchCV(lgbm(), {}, cv=2).fit(spaced, LABEL), ["home city", "num"]) == (
        "num",
        "home city",
    )
    assert own_feature_names(VotingClassifier([("a", lgbm())]).fit(by_number, LABEL), ["0", "1"]) == ("0", "1")
    chosen = make_pipeline(make_column_transformer((one_hot(), ["city"])), LogisticRegression()).fit(TEXTS, LABEL)
    assert own_feature_names(chosen, NAMES) == tuple(NAMES)


def test_the_names_of_what_steps_have_made_are_not_the_models() -> None:
    class Makes(TransformerMixin, BaseEstimator):  # type: ignore[misc]
        def fit(self, X: Any, y: Any = None) -> Makes:
            return self

        def transform(self, X: Any) -> Any:
            return pd.DataFrame({"made": X["num"] * 2})

    assert own_feature_names(make_pipeline(Makes(), lgbm()).fit(TEXTS[["num"]], LABEL), ["num"]) == ()


def test_columns_that_a_library_has_numbered_are_not_names() -> None:
    matrix = TEXTS[["num"]].to_numpy()
    assert own_feature_names(lgbm().fit(matrix, LABEL), ["num"]) == ()
    assert own_feature_names(lgbm().fit(matrix, LABEL), ["Column_0"]) == ("Column_0",)
    assert own_feature_names(GridSearchCV(lgbm(), {}, cv=2).fit(matrix, LABEL), ["num"]) == ()


def test_lists_in_the_place_of_names_are_not_names() -> None:
    """LightGBM's models of a cross-validation answer for all of them."""
    data = lightgbm.Dataset(TEXTS[["num"]], LABEL)
    settings = {"objective": "binary", "verbose": -1, "num_threads": 1}
    models = lightgbm.cv(settings, data, 1, nfold=2, return_cvbooster=True)["cvbooster"]
    assert models.feature_name() == [["num"], ["num"]]
    assert own_feature_names(models, ["num"]) == ()


class OwnVectorizer(CountVectorizer):  # type: ignore[misc]
    """Of a class that extends scikit-learn's."""


DOCUMENTS = ["red apple", "red pear", "green pear"] * 20
KINDS = [0, 1, 1] * 20


@pytest.mark.parametrize(
    ("model", "expected"),
    [
        (make_pipeline(TfidfVectorizer(), LogisticRegression()), True),
        (make_pipeline(OwnVectorizer(), TfidfTransformer(), LogisticRegression()), True),
        (Pipeline([("in", Pipeline([("no", None), ("v", CountVectorizer())])), ("lr", LogisticRegression())]), True),
        (make_pipeline(make_union(TfidfVectorizer(), HashingVectorizer(n_features=8)), LogisticRegression()), True),
        (GridSearchCV(make_pipeline(TfidfVectorizer(), LogisticRegression()), {}, cv=2), True),
        (OneVsRestClassifier(make_pipeline(TfidfVectorizer(), LogisticRegression())), True),
        (CalibratedClassifierCV(make_pipeline(TfidfVectorizer(), LogisticRegression()), cv=2), True),
        (TransformedTargetRegressor(make_pipeline(TfidfVectorizer(), Ridge())), True),
    ],
)
def test_a_model_takes_documents_where_its_input_goes_straight_to_a_vectorizer(model: Any, *, expected: bool) -> None:
    assert takes_documents(model.fit(DOCUMENTS, KINDS)) is expected


def test_a_model_that_chooses_its_text_column_takes_a_frame() -> None:
    chooses = make_column_transformer((TfidfVectorizer(), "text"))
    picks = FunctionTransformer(lambda frame: frame["text"])
    for first in (chooses, make_pipeline(picks, TfidfVectorizer())):
        model = GridSearchCV(make_pipeline(first, LogisticRegression()), {}, cv=2)
        assert not takes_documents(model.fit(pd.DataFrame({"text": DOCUMENTS}), KINDS))


def test_the_final_estimator_is_behind_pipelines_and_searches() -> None:
    search = GridSearchCV(make_pipeline(StandardScaler(), SVC()), {}, cv=2).fit(TEXTS[["num"]], LABEL)
    assert final_estimator(Pipeline([("search", search)])) is search.best_estimator_[-1]
    forest = RandomForestClassifier(2).fit(TEXTS[["num"]], LABEL)
    assert final_estimator(forest) is forest
    only = make_pipeline(StandardScaler(), "passthrough")
    assert final_estimator(only) is only


# Threads.

_THREADS = """
import os, threading, warnings
warnings.simplefilter("ignore")
import lightgbm, numpy as np
from sklearn.ensemble import RandomForestClassifier
from sklearn.model_selection import GridSearchCV
from spark_scoring.model.estimators import use_one_thread
X, y = np.random.default_rng(0).normal(size=(2000, 5)), np.arange(2000) % 2
search = GridSearchCV(RandomForestClassifier(9), {"max_depth": [2]}, cv=2).fit(X, y)
boosters = [lightgbm.LGBMClassifier(n_estimators=3, verbose=-1, **{n: 1}).fit(X, y) for n in ("n_jobs", "nthread")]
boosters += [lightgbm.LGBMClassifier(n_estimators=3, verbose=-1, n_jobs=1).fit(X, y)]

def ask_for_three():
    search.best_estimator_.n_jobs = 3
    boosters[0].n_jobs = 3
    boosters[1].set_params(nthread=3)
    boosters[2].set_params(n_jobs=3)

def extra_threads():
    before, after = len(os.listdir("/proc/self/task")), []
    for booster in boosters:
        booster.predict(X)
        after.append(len(os.listdir("/proc/self/task")) - before)
    started, original = [], threading.Thread.start
    threading.Thread.start = lambda thread: (started.append(thread), original(thread))[1]
    search.predict(X)
    threading.Thread.start = original
    return [len(started), *after]

ask_for_three()
for model in (search, *boosters):
    use_one_thread(model)
print(extra_threads())
ask_for_three()
print(extra_threads())
"""


@pytest.mark.skipif(sys.platform != "linux", reason="threads are counted in /proc")
def test_a_prediction_takes_one_thread() -> None:
    """Extra threads of a forest inside a search, and of LightGBM under the three ways to ask for them."""
    run = subprocess.run([sys.executable, "-c", _THREADS], capture_output=True, text=True, check=True)
    capped, asked = map(json.loads, run.stdout.splitlines())
    assert capped == [0, 0, 0, 0]
    assert min(asked) > 0


def test_the_threads_of_estimators_inside_are_set() -> None:
    pipeline = make_pipeline(StandardScaler(), KNeighborsClassifier(n_jobs=-1))
    model = CalibratedClassifierCV(pipeline, cv=2).fit(TEXTS[["num"]], LABEL)
    model.n_jobs = 2
    use_one_thread(model)
    assert (model.n_jobs, [c.estimator[-1].n_jobs for c in model.calibrated_classifiers_]) == (1, [1, 1])


def test_an_estimator_that_cannot_be_set_is_passed_over() -> None:
    foreign = Foreign(KNeighborsClassifier(n_jobs=3))
    model = VotingClassifier([("foreign", foreign), ("knn", KNeighborsClassifier(n_jobs=3))])
    model.estimators_ = [estimator.fit(TEXTS[["num"]], LABEL) for _, estimator in model.estimators]
    use_one_thread(model)
    assert (foreign.model.n_jobs, model.estimators_[1].n_jobs) == (1, 1)


class Sampler(BaseEstimator):  # type: ignore[misc]
    """As imbalanced-learn's: it resamples in training, holds encoders of its own and is passed over later."""

    def fit_resample(self, X: Any, y: Any) -> Any:
        self.encoder_ = OneHotEncoder().fit(X[["city"]])
        return X, y


class Resampling:
    """A pipeline with steps, as imbalanced-learn's is one."""

    def __init__(self, steps: list[Any]) -> None:
        self.steps = steps

    def predict(self, X: Any) -> Any:
        return self.steps[-1][1].predict(X)


def test_samplers_in_a_pipeline_are_passed_over() -> None:
    sampler = Sampler()
    model = Resampling([("sampler", sampler), ("model", lgbm().fit(*sampler.fit_resample(CATEGORIES, LABEL)))])
    assert columns(model, lightgbm.LGBMClassifier, ["num", "city"]) == ["num", "city"]
    assert not [seen for seen in walk(model, NAMES) if isinstance(seen.estimator, OneHotEncoder)]


# Every meta-estimator of scikit-learn, by rule.

_NUMBERS_ONLY = "it makes a matrix of numbers of its input"
_WHOLE = {
    **dict.fromkeys(("AdaBoostClassifier", "AdaBoostRegressor"), "it refuses NaN, and makes a matrix of its input"),
    **dict.fromkeys(("ClassifierChain", "RegressorChain", "OneVsOneClassifier", "RANSACRegressor"), _NUMBERS_ONLY),
    **dict.fromkeys(("RFE", "RFECV", "SelfTrainingClassifier", "SequentialFeatureSelector"), _NUMBERS_ONLY),
}
_NATIVELY_REFUSED: dict[str, dict[str, str]] = {
    "categories": {
        **_WHOLE,
        **dict.fromkeys(("BaggingClassifier", "BaggingRegressor"), "it makes a matrix of its input"),
        **dict.fromkeys(("ColumnTransformer", "FeatureUnion"), "LightGBM is not a transformer"),
    },
    "text by name": {
        **_WHOLE,
        **dict.fromkeys(("BaggingClassifier", "BaggingRegressor"), "it makes a matrix of its input"),
        "SelectFromModel": "it refuses NaN",
    },
    "text by position": {**_WHOLE, "SelectFromModel": "it refuses NaN"},
    "text alone": {**_WHOLE, "SelectFromModel": "it refuses NaN"},
}
"""Inner model -> meta-estimators whose own fit raises on its frame, and why."""
NAN_TEXTS = TEXTS[["num", "city"]].assign(city=TEXTS["city"].where(np.arange(ROWS) % 7 > 0, np.nan))


def _text_steps(selected: Any) -> Any:
    text = make_pipeline(SimpleImputer(strategy="most_frequent"), one_hot())
    return text if selected is None else ColumnTransformer([("text", text, selected)], remainder=SimpleImputer())


def _inner(kind: str, *, is_transformer: bool, is_classifier: bool) -> Any:
    """A model of categories, or of text with NaN; its transformers where the meta-estimator takes transformers."""
    if kind == "categories":
        kind_of_model = lightgbm.LGBMClassifier if is_classifier else lightgbm.LGBMRegressor
        return kind_of_model(n_estimators=2, num_leaves=3, min_child_samples=5, verbose=-1, n_jobs=1)
    first = _text_steps({"text by name": ["city"], "text by position": [1], "text alone": None}[kind])
    tree = DecisionTreeClassifier(max_depth=2) if is_classifier else DecisionTreeRegressor(max_depth=2)
    return first if is_transformer else make_pipeline(first, tree)


@pytest.mark.parametrize("inner", _NATIVELY_REFUSED)
@pytest.mark.parametrize("name", META_ESTIMATORS)
def test_every_meta_estimator_is_seen_through(name: str, inner: str) -> None:
    """A new one of scikit-learn is tried, too: what fits natively must be seen through, what does not be listed."""
    frame = {"categories": CATEGORIES, "text alone": NAN_TEXTS[["city"]]}.get(inner, NAN_TEXTS)
    is_transformer = takes_transformers(name)
    model, reasons = fitted(
        name, lambda is_class: _inner(inner, is_transformer=is_transformer, is_classifier=is_class), frame, LABEL
    )
    if model is None:
        assert name in _NATIVELY_REFUSED[inner], reasons
        return
    names = list(frame.columns)
    levels = own_levels(model, names, {"num": "double", "city": "string"})
    assert own_feature_names(model, names) == tuple(names)
    if inner == "categories":
        assert dict(levels.named)["city"].values == tuple(LEVELS)
    else:
        assert levels.nan == ("city",)
