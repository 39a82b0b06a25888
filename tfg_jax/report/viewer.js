// Shows the chosen molecule of each viewer. Its text stands in the page, escaped; nothing is fetched.
for (const box of document.querySelectorAll(".viewer")) {
  const chosen = box.querySelector("select"), stage = box.querySelector(".stage");
  try {
    const viewer = $3Dmol.createViewer(stage, { backgroundColor: "white" });
    const show = () => {
      viewer.removeAllModels();
      viewer.addModel(chosen.selectedOptions[0].dataset.molecule, "sdf");
      viewer.setStyle({}, { stick: { radius: 0.12 }, sphere: { scale: 0.25 } });
      viewer.zoomTo();
      viewer.render();
    };
    chosen.addEventListener("change", show);
    show();
  } catch (error) {
    stage.textContent = "This browser cannot show molecules in 3-D: " + error;
  }
}
