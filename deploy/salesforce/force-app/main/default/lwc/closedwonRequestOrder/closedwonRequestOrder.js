import { LightningElement, api } from 'lwc';
import { ShowToastEvent } from 'lightning/platformShowToastEvent';
import requestOrder from '@salesforce/apex/ClosedwonController.requestOrder';

/** A button without a screen: requests the order of the Opportunity of its page. */
export default class ClosedwonRequestOrder extends LightningElement {
    @api recordId;
    isBusy = false;

    @api
    async invoke() {
        // A second click would call again, which is harmless but waits for another callout.
        if (this.isBusy) {
            return;
        }
        this.isBusy = true;
        try {
            const message = await requestOrder({ recordId: this.recordId });
            this.showMessage('success', message);
        } catch (error) {
            this.showMessage('error', error.body?.message ?? 'The order could not be requested.');
        } finally {
            this.isBusy = false;
        }
    }

    showMessage(variant, message) {
        this.dispatchEvent(new ShowToastEvent({ title: 'Order', message, variant }));
    }
}
