import numpy as np, pandas as pd, mlflow
from mlflow.models import infer_signature
from sklearn.linear_model import LogisticRegression
from lightgbm import LGBMClassifier
import spark_scoring as ss
from decimal import Decimal

def test_smoke(spark, registry):
    rng = np.random.default_rng(0)
    X = pd.DataFrame({"a": rng.normal(size=500), "b": rng.integers(0, 9, 500), "c": rng.normal(size=500).astype("float32"), "d": rng.integers(0,2,500).astype(bool)})
    y = (X.a + X.b > 4).astype(int)
    m = LGBMClassifier(n_estimators=20, verbose=-1).fit(X, y)
    info = mlflow.lightgbm.log_model(m, name="model", signature=infer_signature(X, m.predict(X)), registered_model_name="main.t.lgb")
    sdf = spark.createDataFrame(X.assign(b=X.b.astype(int), c=X.c.astype(float)), "a double, b bigint, c double, d boolean").selectExpr("cast(a as decimal(20,10)) a", "cast(b as int) b", "c", "cast(d as int) d", "a as extra")
    print(ss.plan_scoring("models:/main.t.lgb/latest", sdf.schema, predict=["predict","predict_proba"]).explain())
    for stage in ("udf","map"):
        out = ss.score_batch(sdf, "models:/main.t.lgb", predict=["predict","predict_proba"], stage=stage)
        out.printSchema()
        out.show(5, False)
        got = out.toPandas()
        Xq = X.assign(a=sdf.selectExpr("cast(a as double) a").toPandas().a.values)
        assert (got.prediction.values == m.predict(Xq)).all()
        assert np.array_equal(np.stack(got.probability.values), m.predict_proba(Xq))
