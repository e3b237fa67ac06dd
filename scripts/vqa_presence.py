"""Turns presence questions of VQA-RAD into labels for zero-shot classification.

    python scripts/vqa_presence.py QA.CSV OUT.CSV

A closed question of presence ("Is there a pneumothorax?" / "no") is a clinician's statement about an image. A question
that names one finding of the list below, and nothing else of it, labels its image for that finding; answers that
contradict each other leave the label blank. Each image is a patient of its own. The CSV is what `roentgen-eval zero-shot
--data OUT.CSV --prompts chexpert` takes, with one --label-column for each finding.
"""

import csv
import re
import sys
from collections import defaultdict

FINDINGS = {
    "Cardiomegaly": r"cardiomegaly|heart (is )?enlarged|enlarged heart|cardiac silhouette enlarged",
    "Edema": r"edema",
    "Consolidation": r"consolidation|consolidated",
    "Pneumonia": r"pneumonia|infection",
    "Atelectasis": r"atelecta",
    "Pneumothorax": r"pneumothora",
    "Pleural Effusion": r"effusion|costophrenic (angle|sulc\w+)s? (blunt|obscur)|blunt\w* of the .*costophrenic",
    "Fracture": r"fractur|broken",
    "Lung Lesion": r"nodul|mass(es)?\b|lesion",
}
# "Is the pneumothorax on the right?" does not ask whether there is one.
ASKS = re.compile(r"^(is|are) (there|a|an|any)\b|present|evidence|^does .* (have|show)|^is the (heart|cardiac)", re.I)
ANSWERS = {"yes": "1", "no": "0"}


def main(source, out):
    found = defaultdict(set)
    images = {}
    with open(source, newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            images[row["image_path"]] = True
            answer = ANSWERS.get(row["answer"].strip().lower())
            if row["answer_type"] != "CLOSED" or answer is None or not ASKS.search(row["question"]):
                continue
            named = [name for name, words in FINDINGS.items() if re.search(words, row["question"], re.I)]
            if len(named) == 1:
                found[row["image_path"], named[0]].add(answer)
    with open(out, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["image_path", "patient_id", *FINDINGS])
        for image in images:
            labels = [found.get((image, name), set()) for name in FINDINGS]
            writer.writerow([image, image, *(label.copy().pop() if len(label) == 1 else "" for label in labels)])
    for name in FINDINGS:
        answers = [found[image, name] for image in images if (image, name) in found]
        clear = [label for label in answers if len(label) == 1]
        print(f"{name:20} {sum('1' in a for a in clear):3} yes {sum('0' in a for a in clear):3} no")


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    main(*sys.argv[1:])
