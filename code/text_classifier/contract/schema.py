"""The public JSON files of a job: their keys, types and meanings. docs/outputs.md is generated from them.

To rename or remove a key, or to change its type or meaning, increase SCHEMA_VERSION. A metric that is undefined for the
rows (ROC AUC of a class without rows) is null.
"""

from typing import Annotated, Any, Literal, NotRequired, TypedDict

SCHEMA_VERSION = 1

METRICS, MANIFEST, DATA_REPORT = "metrics.json", "training_manifest.json", "data_report.json"

#: Keys of objects; the second part is the placeholder in a documented path.
Split = Annotated[str, "split"]
Channel = Annotated[str, "channel"]
Metric = Annotated[str, "metric"]
Class = Annotated[str, "class"]
File = Annotated[str, "channel/file"]
Hyperparameter = Annotated[str, "hyperparameter"]

#: A number that may be undefined for the rows: NaN in memory, null in JSON.
UNDEFINED = "or null"
Number = Annotated[float, UNDEFINED]

Version = Annotated[int, "Version of this schema"]
Operation = Annotated[str, "operation"]
Operations = Annotated[
    dict[Operation, str],
    "What computes each operation, since the last resume: `torch`, or native code for `amx`, `avx512`, `avx2`, `cuda`",
]
Interval = Annotated[list[Number], "Lower and upper bound of the 95 % bootstrap interval"]
Intervals = Annotated[dict[Metric, list[Number]], "95 % bootstrap interval of each metric that has one: [low, high]"]


# The docstring of an object with metrics is the meaning of its row `<metric>`.
class Scores(TypedDict, total=False):
    """Each metric of the epoch, under its name"""

    train_loss: Annotated[
        Number, "Mean training loss per row since the last evaluation, with the weights and smoothing that are set"
    ]
    validation_loss: Annotated[Number, "Mean plain loss per validation row, whatever the training loss is"]
    accuracy: Annotated[Number, "Share of the rows with the right class"]
    balanced_accuracy: Annotated[Number, "Mean recall of the classes that have rows"]
    exact_match: Annotated[Number, "Subset accuracy: share of the rows with exactly the right labels"]
    precision_macro: Annotated[Number, "Precision, unweighted mean over the classes"]
    recall_macro: Annotated[Number, "Recall, unweighted mean over the classes"]
    f1_macro: Annotated[Number, "F1, unweighted mean over the classes"]
    precision_weighted: Annotated[Number, "Precision, mean over the classes weighted by their rows"]
    recall_weighted: Annotated[Number, "Recall, mean over the classes weighted by their rows"]
    f1_weighted: Annotated[Number, "F1, mean over the classes weighted by their rows"]
    precision_micro: Annotated[Number, "Precision of all labels of all rows together"]
    recall_micro: Annotated[Number, "Recall of all labels of all rows together"]
    f1_micro: Annotated[Number, "F1 of all labels of all rows together"]
    matthews_correlation: Annotated[Number, "Matthews correlation coefficient"]
    log_loss: Annotated[
        Number, "Mean cross-entropy per row (multi_label: mean over the labels as well), at temperature 1"
    ]
    roc_auc: Annotated[Number, "Area under the ROC curve; of two classes, the second is the positive one"]
    auprc: Annotated[Number, "Average precision; of two classes, the second is the positive one"]
    roc_auc_macro: Annotated[Number, "ROC AUC, mean over the labels that some rows have and some do not"]
    auprc_macro: Annotated[Number, "Average precision, mean over the labels that some rows have and some do not"]
    mae: Annotated[Number, "Mean absolute error"]
    mse: Annotated[Number, "Mean squared error"]
    rmse: Annotated[Number, "Root mean squared error"]
    r2: Annotated[Number, "Coefficient of determination (R²)"]
    spearman: Annotated[Number, "Spearman's rank correlation"]


class LossCurve(TypedDict):
    steps: Annotated[list[int], "Last step of each point"]
    losses: Annotated[list[Number], "Mean training loss per row of each point's steps, on rank 0"]


class Throughput(TypedDict, total=False):
    rows: Annotated[int, "Training rows processed"]
    seconds: Annotated[float, "Training time"]
    rows_per_second: Annotated[float, "Training rows per second"]
    tokens_per_second: Annotated[float, "Training tokens per second, padding excluded"]
    padding: Annotated[float, "Share of the computed tokens that were padding"]


ClassMetrics = TypedDict(
    "ClassMetrics",
    {
        "class": Annotated[str, "The class or label"],
        "rows": Annotated[int, "Rows of the class (support)"],
        "predicted": Annotated[int, "Rows predicted to be of the class"],
        "precision": Annotated[float, "Precision; 0 where the class was never predicted"],
        "recall": Annotated[float, "Recall; 0 where the class has no rows"],
        "f1": Annotated[float, "Harmonic mean of precision and recall"],
        "roc_auc": Annotated[Number, "ROC AUC of the class against all others; null with more than 200 classes"],
        "auprc": Annotated[Number, "Average precision of the class against all others; null as `roc_auc` is"],
    },
)


Mistake = TypedDict(
    "Mistake",
    {
        "class": Annotated[str, "The true class"],
        "predicted": Annotated[str, "The predicted class"],
        "rows": Annotated[int, "Rows of the one that were predicted as the other"],
    },
)


class CalibrationBin(TypedDict):
    rows: Annotated[int, "Rows in the bin"]
    confidence: Annotated[float, "Mean probability of the predicted class"]
    accuracy: Annotated[float, "Share of the bin's rows with the right class"]


class CrossFit(TypedDict):
    """Each row judged by a temperature that was fitted on the other folds."""

    rows: Annotated[int, "Validation rows judged; of many, a sample"]
    log_loss_difference: Annotated[float, "Log loss with the temperature minus log loss without it"]
    log_loss_difference_interval: Interval
    error: Annotated[float, "ECE without the temperature"]
    error_at_temperature: Annotated[float, "ECE with the temperature"]
    error_difference_interval: Interval


class Calibration(TypedDict):
    temperature: Annotated[float, "Fitted on the validation rows; `recommended_temperature` says whether it helps"]
    recommended_temperature: NotRequired[Annotated[float, "As `temperature` of the manifest; validation rows only"]]
    cross_fitted: NotRequired[
        Annotated[CrossFit, "What a temperature brings, by cross-fitting; only of 20 or more validation rows"]
    ]
    error: Annotated[float, "Expected calibration error (ECE)"]
    error_at_temperature: Annotated[float, "ECE with the logits divided by the temperature"]
    log_loss_at_temperature: Annotated[float, "Log loss with the logits divided by the temperature"]
    reliability: Annotated[list[CalibrationBin], "Non-empty bins of equal width of the predicted class's probability"]
    reliability_at_temperature: Annotated[list[CalibrationBin], "The same at the temperature"]


class Threshold(TypedDict):
    wanted: Annotated[Literal["precision", "recall"], "The metric that the threshold guarantees on these rows"]
    at_least: Annotated[float, "The wanted minimum"]
    threshold: Annotated[Number, "Rows count as positive from this probability on; null if none reaches the minimum"]
    precision: Annotated[Number, "Precision at the threshold"]
    recall: Annotated[Number, "Recall at the threshold"]


class Part(Scores):
    """Rows of a split that were measured together."""

    rows: Annotated[int, "Rows measured"]
    intervals: Intervals


class LengthSlice(Part):
    """Each metric of the slice, under its name"""

    tokens: Annotated[list[int], "Shortest and longest row, in tokens after truncation"]


class FirstWindow(Part):
    """Each metric of these rows by their first window alone, under its name"""


class LongTexts(Part):
    """Each metric of the rows with several windows, by the mean of the logits, under its name"""

    windows: Annotated[int, "Windows of these rows"]
    first_window: Annotated[FirstWindow, "The same rows with the logits of their first window alone"]
    mean_minus_first_window: Annotated[Number, "Headline metric by the mean minus that by the first window"]
    mean_minus_first_window_interval: Interval


class ColumnSlice(Part):
    """Each metric of the slice, under its name"""

    value: Annotated[str | None, "Value of the slice column; null for all slices that are not listed, together"]
    slices: Annotated[int, "Values that the entry covers"]


class AtThresholds(Part):
    """Each metric at these thresholds, under its name"""

    thresholds: Annotated[dict[Class, float], "Those of training_manifest.json"]


class SplitMetrics(Part):
    """Each metric of the split, under its name"""

    per_class: NotRequired[Annotated[list[ClassMetrics], "Each class or label; not with regression"]]
    confusion_matrix: NotRequired[
        Annotated[
            list[list[int]],
            "Rows by true class (outer) and predicted class (inner); single_label with at most 200 classes",
        ]
    ]
    mistakes: NotRequired[
        Annotated[list[Mistake], "The most frequent mistakes, at most 1,000; single_label with more than 200 classes"]
    ]
    calibration: NotRequired[Annotated[Calibration, "Whether the probabilities can be trusted; single_label only"]]
    thresholds: NotRequired[
        Annotated[list[Threshold], "Thresholds for the second class; empty unless there are two; single_label only"]
    ]
    at_fitted_thresholds: NotRequired[
        Annotated[
            AtThresholds,
            "The same rows at the thresholds fitted on the validation rows, whose metrics are therefore optimistic: "
            "test rows judge them; only with `thresholds=fitted`",
        ]
    ]
    class_thresholds: NotRequired[
        Annotated[
            dict[Class, list[Threshold]],
            "Thresholds for each of 3 to 200 classes, or of at most 200 labels, against all others",
        ]
    ]
    by_length: Annotated[list[LengthSlice], "Up to four slices by length, of about equally many rows"]
    long_texts: NotRequired[
        Annotated[LongTexts, "What reading long texts to their end has brought; only with `long_texts=mean`"]
    ]
    by_slice: NotRequired[Annotated[list[ColumnSlice], "Slices by `slice_column`, largest first; only if it is set"]]


class Baseline(Part):
    """Each metric of the baseline, under its name"""

    name: Annotated[str, "The constant baseline comes first, then TF-IDF with a linear model"]
    training_rows: Annotated[int, "Training rows it was fitted on"]
    model_minus_baseline: Annotated[Number, "Headline metric of the model minus the baseline's, on the same rows"]
    model_minus_baseline_interval: Interval


class Fold(Scores):
    """Each metric of the fold's rows, under its name"""

    rows: Annotated[int, "Training rows of the fold, which its model has not learned"]


class CrossValidation(TypedDict):
    mean: Annotated[dict[Metric, Number], "Mean over the folds in which the metric is defined"]
    standard_deviation: Annotated[dict[Metric, Number], "Standard deviation over these folds (n - 1)"]
    folds: Annotated[list[Fold], "Each fold: the metrics of a model that was trained on the other training rows"]


class Metrics(Scores):
    """Each metric of the best epoch, under its name; absent if no epoch was finished"""

    schema_version: Version
    headline: Annotated[str, "Name of the task's main metric"]
    best_epoch: Annotated[int, "The epoch whose weights were saved, from 1; 0 if nothing was evaluated"]
    best_evaluation: NotRequired[Annotated[int, "Number of the evaluation whose weights were saved, in `epochs`"]]
    evaluations_per_epoch: NotRequired[Annotated[int, "Evaluations in each epoch"]]
    stopped_early_after: NotRequired[Annotated[int, "Evaluation after which `early_stopping_patience` ended training"]]
    max_tokens_per_gpu: NotRequired[
        Annotated[int, "Most tokens computed at once in training, if there was a limit or memory ran out"]
    ]
    steps: Annotated[int, "Optimizer steps"]
    classes: Annotated[list[str], "Class names in the order of the model's outputs"]
    rows: Annotated[dict[Split, int], "Rows of each split"]
    epochs: Annotated[list[Scores], "Metrics on the validation rows at each evaluation, as logged"]
    loss_curve: Annotated[LossCurve, "Training loss over the steps, at most 400 points"]
    throughput: Annotated[Throughput, "Training speed since the job last started; empty if no step followed"]
    operations: NotRequired[Operations]
    validation: NotRequired[Annotated[SplitMetrics, "Metrics on the validation rows; not after a stop"]]
    test: NotRequired[Annotated[SplitMetrics, "As `validation`, on the test rows; only with a test channel"]]
    cross_validation: NotRequired[
        Annotated[CrossValidation, "The training rows, by models that have not learned them; not after a stop"]
    ]
    baselines: NotRequired[Annotated[list[Baseline], "Simple methods on (a sample of) the validation rows"]]
    warnings: NotRequired[Annotated[list[str], "What is wrong with the model by these metrics, as logged"]]


class OnnxExport(TypedDict):
    file: Annotated[str, "File name"]
    opset: Annotated[int, "ONNX operator set"]
    inputs: Annotated[list[str], "Names of the inputs"]
    largest_difference: Annotated[float, "Largest difference of a logit to the trainer's"]
    tolerance: Annotated[float, "The largest difference allowed"]


class OnnxFailure(TypedDict):
    error: Annotated[str, "Why there is no model.onnx"]


class BaseModel(TypedDict):
    name: Annotated[str, "`model_name`; of a model channel the name that its files give, else `model channel`"]
    architecture: Annotated[str, "transformers' model_type"]
    revision: Annotated[str | None, "Commit on the Hub; null for a model channel"]
    source: NotRequired[
        Annotated[
            Literal["hub", "config.json", "model card", "unknown"],
            "Where the name is from; all but `hub`: model channel",
        ]
    ]


class Run(TypedDict):
    finished: Annotated[str, "When the model was saved: date and time (UTC, ISO 8601)"]
    minutes: Annotated[float, "Until then, since the job last started"]
    instance_type: Annotated[str | None, "Instance type; null if it is not known"]
    hosts: Annotated[int, "Hosts"]
    processor: Annotated[str | None, "Name of the processor"]
    gpu: Annotated[str | None, "Name of the first GPU; null without one"]
    gpus: Annotated[int, "GPUs of a host"]


class InputFile(TypedDict):
    bytes: Annotated[int, "Size"]
    sha256: Annotated[str | None, "SHA-256; null if the file could not be read again or the channel exceeds 4 GiB"]


class Versions(TypedDict):
    python: Annotated[str, "Python"]
    torch: Annotated[str, "torch"]
    transformers: Annotated[str, "transformers"]


class Manifest(TypedDict):
    schema_version: Version
    status: Annotated[Literal["completed", "stopped"], "Whether training was stopped"]
    steps: Annotated[int, "Optimizer steps"]
    epoch: Annotated[int, "The epoch whose weights these are, from 1; 0 if nothing was evaluated"]
    stopped_early_after: NotRequired[Annotated[int, "Evaluation after which `early_stopping_patience` ended training"]]
    classes: Annotated[list[str], "Class names in the order of the model's outputs"]
    temperature: Annotated[
        float | None, "Divide the logits by it for calibrated probabilities; 1: none is recommended; null: not fitted"
    ]
    thresholds: NotRequired[
        Annotated[
            dict[Class, float] | None,
            "Probability above which to predict each label, fitted on the validation rows with `thresholds=fitted`; "
            "also in config.json",
        ]
    ]
    onnx: Annotated[OnnxExport | OnnxFailure | None, "Outcome of `export=onnx`; null without it"]
    hyperparameters: Annotated[dict[Hyperparameter, Any], "All hyperparameters, defaults included"]
    truncation_side: NotRequired[
        Annotated[Literal["left", "right"], "At which end the saved tokenizer truncates; `left` keeps the last tokens"]
    ]
    base_model: Annotated[BaseModel, "The model that was fine-tuned"]
    files: Annotated[dict[File, InputFile] | None, "The job's input files; null after a stop"]
    code_revision: Annotated[str | None, "Git commit that the image was built from"]
    image_digest: Annotated[str | None, "Digest of the image, if whoever started the job passed it on"]
    training_job: Annotated[str | None, "Name of the SageMaker training job"]
    run: NotRequired[Annotated[Run, "Time and machine"]]
    versions: Annotated[Versions, "Versions of the main libraries"]
    operations: NotRequired[Operations]


class ChannelReport(TypedDict):
    rows: Annotated[int, "Rows used"]
    bad_rows: Annotated[int, "Rows skipped with `bad_rows=skip`"]
    bad_row_examples: Annotated[list[str], "The first skipped rows, with the reason"]
    unmapped_labels: Annotated[int, "Rows dropped with `unmapped=drop`"]
    unlabelled: NotRequired[Annotated[int, "Rows dropped with `unlabelled=drop`"]]


class Distribution(TypedDict):
    mean: Annotated[float, "Mean"]
    median: Annotated[int, "Median"]
    p90: Annotated[int, "90th percentile"]
    p99: Annotated[int, "99th percentile"]
    max: Annotated[int, "Maximum"]


class LabelStatistics(TypedDict):
    lowest: Annotated[float, "Minimum"]
    median: Annotated[float, "Median"]
    highest: Annotated[float, "Maximum"]
    mean: Annotated[float, "Mean"]
    deviation: Annotated[float, "Standard deviation"]


class SplitReport(TypedDict):
    rows: Annotated[int, "Rows of the split"]
    classes: NotRequired[Annotated[dict[Class, int], "Rows of each class or label; not with regression"]]
    labels: NotRequired[Annotated[LabelStatistics, "Distribution of the labels; regression only"]]
    without_label: NotRequired[Annotated[int, "Rows without any label; multi_label only"]]
    labels_of_a_row: NotRequired[Annotated[float, "Mean number of labels per row; multi_label only"]]
    characters: Annotated[Distribution, "Characters per text"]
    empty_texts: Annotated[int, "Rows without text"]
    exact_duplicates: Annotated[int, "Rows whose text occurred before in the split"]
    near_duplicates: Annotated[int, "The same, ignoring the case of ASCII letters and white space"]


class TokenReport(Distribution):
    truncated: Annotated[int, "Rows longer than `max_sequence_length`; with `long_texts=mean`, than 256 windows"]
    windows: NotRequired[Annotated[int, "Windows of all rows; only with `long_texts=mean`"]]
    in_windows: NotRequired[Annotated[int, "Rows with several windows; only with `long_texts=mean`"]]
    unknown_share: NotRequired[Annotated[float, "Share of the tokens that the tokenizer does not know"]]
    truncated_share: Annotated[float, "Their share"]


class DataReport(TypedDict):
    schema_version: Version
    channels: Annotated[dict[Channel, ChannelReport], "Counts of the rows read from each channel"]
    splits: Annotated[dict[Split, SplitReport], "The rows of each split"]
    notes: Annotated[list[str], "Warnings about the data"]
    tokens: NotRequired[Annotated[dict[Split, TokenReport], "Tokens kept per row; absent until the tokenizer has run"]]
