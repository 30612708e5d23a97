// Inside the webui: sending an image to its other tabs, and what its own scripts call in ours.
(function () {
    'use strict';

    const ns = globalThis.rankopt = globalThis.rankopt || {};
    if (ns.send) return;

    const PASTE = 'Read generation parameters from the prompt, or those of the last generation if the prompt is empty.';

    /** The hidden button of a target, or null outside the webui. */
    const buttonOf = (target) => document.getElementById(`rankopt_send_${target}`);

    /** What can be done with an image in the webui's other tabs; nothing outside the webui. */
    ns.sendTargets = () => ['finish', 'txt2img', 'img2img', 'inpaint', 'extras'].filter(buttonOf);

    /** What is on its way: read by the hidden button's own script, see ui/exchange.py. */
    ns.sending = {image: '', target: ''};

    /** Send an image with its parameters to a tab of the webui. */
    ns.send = function (image, target) {
        ns.sending = {image, target};
        document.getElementById('rankopt_send_read').click();
    };

    /** The image has been read into the hidden components; the webui's own sending goes on from there. */
    ns.sent = function (target = ns.sending.target) {
        const button = buttonOf(target);
        if (button) button.click();
    };

    // The webui calls these two by name for every tab that takes parameters.
    globalThis.switch_to_rankopt = function () {
        const tab = [...document.querySelectorAll('#tabs > .tab-nav > button')].find((one) => one.textContent.trim() === 'Rank-Optimize');
        if (tab) tab.click();
        const data = ns.board && ns.board.state.data;
        if (data && (data.study || data.page)) ns.board.home();
        return [];
    };
    globalThis.recalculate_prompts_rankopt = () => [];

    if (typeof onUiLoaded === 'function') {
        onUiLoaded(() => {
            const paste = document.getElementById('rankopt_paste');
            if (paste) paste.title = PASTE;
        });
    }
}());
